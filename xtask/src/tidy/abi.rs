//! A changed layout under an old version number would let user space misread pinned maps: the
//! layouts' hash is on record beside the version it belongs to.

use anyhow::{Context as _, Result, bail};

use super::SourceFile;
use super::code::{Strings, without_comments};

/// Every file below it counts.
const SOURCE: &str = "sensor-ebpf/src/abi/";

/// Where the version is declared.
const DECLARES: &str = "sensor-ebpf/src/abi/mod.rs";
pub(super) const RECORD: &str = "xtask/src/tidy/abi.record";
const REMEDY: &str = "raise ABI_VERSION, then `cargo xtask tidy --record-abi`";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Abi {
    version: u32,
    hash: u64,
}

pub(super) fn changes_raise_the_version(files: &[SourceFile]) -> Vec<String> {
    let complaint = match present_and_recorded(files) {
        Ok((present, Some(recorded))) if present == recorded => return Vec::new(),
        Ok((present, Some(recorded))) if present.version == recorded.version => {
            format!("its layouts changed under version {}: {REMEDY}", present.version)
        }
        Ok((present, _)) => {
            format!("version {} is not on record: `cargo xtask tidy --record-abi`", present.version)
        }
        Err(error) => format!("{error:#}"),
    };
    vec![format!("{SOURCE}: {complaint}")]
}

/// The record's new text; an error where it would hide a change.
pub(super) fn new_record(files: &[SourceFile]) -> Result<String> {
    let (present, recorded) = present_and_recorded(files)?;
    if let Some(recorded) = recorded
        && recorded.hash != present.hash
        && present.version <= recorded.version
    {
        bail!("version {} is on record with other layouts: raise ABI_VERSION", recorded.version);
    }
    Ok(format!("version {}\nhash {:016x}\n", present.version, present.hash))
}

fn present_and_recorded(files: &[SourceFile]) -> Result<(Abi, Option<Abi>)> {
    let find = |path: &str| files.iter().find(|file| file.path == path);
    let declares = find(DECLARES).with_context(|| format!("{DECLARES} is missing"))?;
    let mut sources: Vec<_> = files.iter().filter(|file| file.path.starts_with(SOURCE)).collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    let whole: String = sources.iter().map(|file| code(&file.text)).collect();
    let present = Abi { version: version(&declares.text)?, hash: hash(&whole) };
    Ok((present, find(RECORD).map(|file| parse_record(&file.text)).transpose()?))
}

fn version(source: &str) -> Result<u32> {
    let (_, rest) =
        source.split_once("const ABI_VERSION: u32 = ").context("it declares no ABI_VERSION")?;
    let (number, _) = rest.split_once(';').context("ABI_VERSION has no end")?;
    number.parse().context("read ABI_VERSION")
}

fn parse_record(text: &str) -> Result<Abi> {
    let value = |key: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(key));
        value.map(str::trim).with_context(|| format!("no {key} in {RECORD}"))
    };
    let version = value("version")?.parse().context("read the recorded version")?;
    let hash = u64::from_str_radix(value("hash")?, 16).context("read the recorded hash")?;
    Ok(Abi { version, hash })
}

/// What the compiler sees: no comments, white space, formatting, tests, nor the version itself.
fn code(source: &str) -> String {
    let code = without_comments(source, Strings::Keep);
    let code = code.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.contains("const ABI_VERSION"));
    let mut dense: String = lines.flat_map(str::split_whitespace).collect();
    for close in ['}', ')', ']'] {
        dense = dense.replace(&format!(",{close}"), &close.to_string());
    }
    dense
}

/// FNV-1a: nobody attacks this.
fn hash(code: &str) -> u64 {
    code.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::super::SourceFile;
    use super::{DECLARES, RECORD, changes_raise_the_version, code, new_record};

    const BEFORE: &str = "pub const ABI_VERSION: u32 = 1;\npub struct Key { a: u8, b: u8 }\n";

    fn tree(source: &str, record: &str) -> Vec<SourceFile> {
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        vec![file(DECLARES, source), file(RECORD, record)]
    }

    #[test]
    fn only_layouts_count() {
        let same = "// more words\npub const ABI_VERSION: u32 = 2;\npub struct Key {\n  a: u8,\n  b: u8,\n}\n\
                    #[cfg(test)]\nmod tests {}";
        assert_eq!(code(BEFORE), code(same));
        assert_ne!(code(BEFORE), code(&BEFORE.replace("b: u8", "b: u16")));
    }

    #[test]
    fn a_change_without_a_raise_is_refused() {
        let record = new_record(&tree(BEFORE, "version 0\nhash 0\n")).unwrap();
        assert!(changes_raise_the_version(&tree(BEFORE, &record)).is_empty());

        let changed = BEFORE.replace("b: u8", "b: u16");
        let complaints = changes_raise_the_version(&tree(&changed, &record));
        assert!(complaints[0].contains("changed under version 1: raise"), "{complaints:?}");
        assert!(new_record(&tree(&changed, &record)).is_err());

        let raised = changed.replace("u32 = 1", "u32 = 2");
        let complaints = changes_raise_the_version(&tree(&raised, &record));
        assert!(complaints[0].contains("not on record"), "{complaints:?}");
        let record = new_record(&tree(&raised, &record)).unwrap();
        assert!(changes_raise_the_version(&tree(&raised, &record)).is_empty());
    }
}
