//! A Rust source taken apart just far enough: what is code, and what only talks about it.

/// What to do with the contents of string literals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strings {
    Keep,
    Blank,
}

/// The source without comments.
pub(super) fn without_comments(source: &str, strings: Strings) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(next) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if rest.starts_with("'\"'") {
            code.push_str("'\"'");
            3
        } else if let Some(length) = string(rest, &code) {
            match strings {
                Strings::Keep => code.push_str(rest.get(..length).unwrap_or_default()),
                Strings::Blank => code.push_str("\"\""),
            }
            length
        } else {
            code.push(next);
            next.len_utf8()
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    code
}

/// The identifiers and numbers of a piece of code.
pub(super) fn words(code: &str) -> impl Iterator<Item = &str> {
    let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.filter(|word| !word.is_empty())
}

/// Bytes of the comment at the front; Rust's nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_u32;
    for (at, _) in text.char_indices() {
        let here = text.get(at..).unwrap_or_default();
        if here.starts_with("/*") {
            depth += 1;
        } else if at > 1 && text.get(..at).is_some_and(|before| before.ends_with("*/")) {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    text.len()
}

/// Bytes of the string literal at the front, quotes included; `before` ends where it begins.
fn string(text: &str, before: &str) -> Option<usize> {
    if let Some(raw) = text.strip_prefix('r')
        && !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
    {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let content = raw.get(hashes..)?.strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = content.find(&end).map_or(content.len(), |at| at + end.len());
        return Some(text.len() - content.len() + length);
    }
    let content = text.strip_prefix('"')?;
    let mut escaped = false;
    for (at, c) in content.char_indices() {
        match c {
            '"' if !escaped => return Some(at + 2),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    Some(text.len())
}

#[cfg(test)]
mod tests {
    use super::{Strings, without_comments, words};

    #[test]
    fn comments_go_and_strings_are_not_comments() {
        let check = |source: &str, expected: &str| {
            assert_eq!(without_comments(source, Strings::Keep), expected);
        };
        check("a // b\nc", "a \nc");
        check("a /* b /* c */ d */ e", "a  e");
        check(r#"let x = "no // comment"; // but this"#, r#"let x = "no // comment"; "#);
        check(r#"let x = "a \" // b";"#, r#"let x = "a \" // b";"#);
        check(r##"r#"a " // b"# // c"##, r##"r#"a " // b"# "##);
        check("for\"x\" // c", "for\"x\" ");
        check("let quote = '\"'; // c", "let quote = '\"'; ");
    }

    #[test]
    fn blank_strings_name_nothing() {
        let code = without_comments(r#"use std; let x = "aya";"#, Strings::Blank);
        assert_eq!(words(&code).collect::<Vec<_>>(), ["use", "std", "let", "x"]);
    }
}
