//! The rules about single files.

use super::SourceFile;
use super::code::{Strings, without_comments, words};

/// A file that is longer has more than one reason to change.
const LINES_MAX: usize = 500;

/// Marks of unfinished work; written in two halves, so that this file bears none.
const OPEN_MARKS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Crates, and the only directories that may name them. A module that is part of such a place is in it.
const PLACES: [(&[&str], &[&str]); 2] = [
    (&["aya", "aya_log", "aya_obj"], &["sensor-user/src/kernel/"]),
    (
        &["aya_ebpf", "aya_log_ebpf", "aya_ebpf_bindings"],
        &["sensor-ebpf/src/xdp/", "sensor-ebpf/src/lab/"],
    ),
];

/// Map keys and values are marked as plain data where they are declared.
const POD_MARK: &str = "aya::Pod";

/// Lints of the workspace reach only the members that ask for them.
pub(super) fn members_inherit_lints(files: &[SourceFile]) -> Vec<String> {
    let manifests = files.iter().filter(|file| file.path.ends_with("Cargo.toml"));
    let members = manifests.filter(|file| file.text.lines().any(|line| line == "[package]"));
    members
        .filter(|file| !inherits_lints(&file.text))
        .map(|file| format!("{}: add `[lints]` with `workspace = true`", file.path))
        .collect()
}

pub(super) fn files_are_short(files: &[SourceFile]) -> Vec<String> {
    let sources = rust(files).map(|file| (file, file.text.lines().count()));
    sources
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| {
            format!("{}: {lines} lines, {LINES_MAX} at most: split it by concern", file.path)
        })
        .collect()
}

pub(super) fn nothing_is_left_open(files: &[SourceFile]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in rust(files) {
        for (line, text) in (1..).zip(file.text.lines()) {
            if let Some(mark) = words(text).find(|word| OPEN_MARKS.contains(word)) {
                complaints.push(format!("{}:{line}: {mark}: do it, or file an issue", file.path));
            }
        }
    }
    complaints
}

pub(super) fn aya_is_named_in_its_place(files: &[SourceFile]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in rust(files) {
        let code = without_comments(&file.text, Strings::Blank).replace(POD_MARK, "");
        for (crates, places) in PLACES {
            if places.iter().any(|place| file.path.starts_with(place)) {
                continue;
            }
            if let Some(named) = words(&code).find(|word| crates.contains(word)) {
                let places = places.join(" and ");
                complaints.push(format!("{}: only {places} names {named}: move it", file.path));
            }
        }
    }
    complaints
}

fn rust(files: &[SourceFile]) -> impl Iterator<Item = &SourceFile> {
    files.iter().filter(|file| file.path.rsplit_once('.').is_some_and(|(_, end)| end == "rs"))
}

fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    lines.by_ref().take_while(|line| !line.starts_with('[')).any(|line| {
        let line: String = line.split_whitespace().collect();
        line == "workspace=true"
    })
}

#[cfg(test)]
mod tests {
    use super::super::SourceFile;
    use super::{
        aya_is_named_in_its_place, files_are_short, members_inherit_lints, nothing_is_left_open,
    };

    fn check(rule: fn(&[SourceFile]) -> Vec<String>, path: &str, text: &str, expected: &[&str]) {
        let file = SourceFile { path: path.into(), text: text.into() };
        assert_eq!(rule(&[file]), expected, "{path}");
    }

    #[test]
    fn a_member_without_lints_is_named() {
        let rule = members_inherit_lints;
        check(rule, "Cargo.toml", "[workspace]\n", &[]);
        check(rule, "a/Cargo.toml", "[package]\n[lints]\nworkspace = true\n", &[]);
        let complaint = "a/Cargo.toml: add `[lints]` with `workspace = true`";
        check(rule, "a/Cargo.toml", "[package]\nversion.workspace = true\n", &[complaint]);
        check(rule, "a/Cargo.toml", "[package]\n[lints]\n[x]\nworkspace = true\n", &[complaint]);
    }

    #[test]
    fn a_long_file_is_named() {
        check(files_are_short, "a.rs", &"\n".repeat(500), &[]);
        let complaint = "a.rs: 501 lines, 500 at most: split it by concern";
        check(files_are_short, "a.rs", &"\n".repeat(501), &[complaint]);
    }

    #[test]
    fn an_open_mark_is_named_with_its_line() {
        let text = format!("a\n// {}: b\n", super::OPEN_MARKS[0]);
        let complaint = format!("a.rs:2: {}: do it, or file an issue", super::OPEN_MARKS[0]);
        check(nothing_is_left_open, "a.rs", &text, &[&complaint]);
        check(nothing_is_left_open, "a.rs", "let todos = 1;", &[]);
    }

    #[test]
    fn aya_outside_its_place_is_named() {
        let rule = aya_is_named_in_its_place;
        check(rule, "sensor-user/src/kernel/mod.rs", "use aya::Ebpf;", &[]);
        check(rule, "sensor-ebpf/src/xdp/maps.rs", "use aya_ebpf::maps;", &[]);
        check(rule, "sensor-ebpf/src/abi/pod.rs", "unsafe impl aya::Pod for Key {}", &[]);
        check(rule, "sensor-user/src/flow.rs", "// what aya does\nlet x = \"aya\";", &[]);
        check(
            rule,
            "sensor-user/src/flow.rs",
            "use aya::Ebpf;",
            &["sensor-user/src/flow.rs: only sensor-user/src/kernel/ names aya: move it"],
        );
        check(
            rule,
            "sensor-ebpf/src/flow.rs",
            "aya_ebpf::helpers()",
            &[
                "sensor-ebpf/src/flow.rs: only sensor-ebpf/src/xdp/ and sensor-ebpf/src/lab/ names aya_ebpf: move it",
            ],
        );
    }
}
