//! Shell patterns for scenario names: `*` is any text, `?` any character.

pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return text.is_empty() };
    let rest = pattern.get(first.len_utf8()..).unwrap_or_default();
    let mut behind = text.chars();
    match first {
        // The star takes nothing, or one character and stays.
        '*' => matches(rest, text) || behind.next().is_some() && matches(pattern, behind.as_str()),
        '?' => behind.next().is_some() && matches(rest, behind.as_str()),
        _ => behind.next() == Some(first) && matches(rest, behind.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks() {
        let check = |pattern, text, expected| {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        };
        check("syn", "syn", true);
        check("syn", "syns", false);
        check("sy", "syn", false);
        check("*", "", true);
        check("hello-*", "hello-sni-first", true);
        check("hello-*", "blocked-hello", false);
        check("*hello*", "blocked-hello", true);
        check("*-*-*t", "hello-sni-first", true);
        check("?yn", "syn", true);
        check("?syn", "syn", false);
        check("", "syn", false);
    }
}
