//! Bundles that somebody changed, cut, or made to do harm, be they signed.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::super::archive::unpack;
use super::super::disk::digest_of;
use super::{Bed, of};

/// A member of an archive made by hand.
struct Part<'a> {
    path: &'a [u8],
    kind: EntryType,
    bytes: &'a [u8],
}

fn file<'a>(path: &'a str, bytes: &'a [u8]) -> Part<'a> {
    Part { path: path.as_bytes(), kind: EntryType::Regular, bytes }
}

/// An archive as no honest program makes one, packed.
fn packed(parts: &[Part<'_>]) -> Vec<u8> {
    let mut archive = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for Part { path, kind, bytes } in parts {
        let mut header = Header::new_ustar();
        header.set_entry_type(*kind);
        header.as_mut_bytes()[..path.len()].copy_from_slice(path);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.append(&header, *bytes).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

const POLICY: &[u8] = b"version = \"1\"\ndefault_group = \"a\"\ngroup = [{ name = \"a\" }]\n";

/// A manifest of these members.
fn manifest(members: &[(&str, &[u8])]) -> Value {
    let members = members.iter().map(
        |(path, bytes)| json!({ "path": path, "bytes": bytes.len(), "sha256": digest_of(bytes) }),
    );
    json!({
        "format": 1, "number": 1, "policy": "1", "created": "", "author": "", "reason": "",
        "tool": "", "members": members.collect::<Vec<_>>(),
    })
}

/// Why a signed bundle of these bytes is refused.
fn refusal(bed: &Bed, bytes: &[u8]) -> String {
    let bundle = bed.path("1.bundle");
    fs::write(&bundle, bytes).unwrap();
    bed.sign(&bundle);
    let said = bed.refusal(&bundle);
    assert_eq!(bed.site().in_force().unwrap(), None, "{said}");
    let left = fs::read_dir(bed.path("site/bundles")).unwrap().count();
    assert_eq!(left, 0, "{said}");
    said
}

#[test]
fn what_is_signed_and_wrong_is_refused() {
    let bed = Bed::new();
    let good = manifest(&[("policy.toml", POLICY)]).to_string();
    let good = file("manifest.json", good.as_bytes());
    let policy = || file("policy.toml", POLICY);
    let check = |parts: &[Part<'_>], expected: &str| {
        assert_eq!(refusal(&bed, &packed(parts)), format!("1.bundle: {expected}"));
    };
    let out = "leads out of the bundle: nothing was unpacked of it";
    let text = |value: &Value| value.to_string().into_bytes();

    check(&[], "is no whole bundle (it is empty): make it again with `lists import`");
    check(&[policy()], "member `policy.toml` is not the one that the manifest has here");
    check(&[good], "member `policy.toml` is missing");
    let good = manifest(&[("policy.toml", POLICY)]).to_string();
    let good = || file("manifest.json", good.as_bytes());
    for path in ["../policy.toml", "/etc/passwd", "lists/../../x.txt", "policy.toml/", "x"] {
        check(&[good(), file(path, POLICY)], &format!("member `{path}` {out}"));
    }
    let path = "../../etc/cron.d/x";
    let leading = text(&manifest(&[(path, POLICY)]));
    check(
        &[file("manifest.json", &leading), file(path, POLICY)],
        &format!("member `{path}` {out}"),
    );
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Directory,
        EntryType::Char,
        EntryType::Fifo,
        EntryType::XHeader,
        EntryType::GNULongName,
        EntryType::GNUSparse,
    ] {
        let part = Part { path: b"policy.toml", kind, bytes: b"" };
        check(&[good(), part], "member `policy.toml` is no file: nothing was unpacked of it");
    }
    let odd = Part { path: b"\x1b[31m\xff", kind: EntryType::Regular, bytes: b"" };
    check(&[good(), odd], &format!("member `\\u{{1b}}[31m\u{fffd}` {out}"));
    let twice = "is not the one that the manifest has here";
    check(&[good(), policy(), policy()], &format!("member `policy.toml` {twice}"));
    check(&[good(), file("preset.toml", POLICY)], &format!("member `preset.toml` {twice}"));
    let changed = [POLICY, b"#"].concat();
    check(
        &[good(), file("policy.toml", &changed)],
        "member `policy.toml` has not the size that the manifest says",
    );
    let changed = String::from_utf8_lossy(POLICY).replace("\"1\"", "\"2\"");
    check(
        &[good(), file("policy.toml", changed.as_bytes())],
        "member `policy.toml` is not what the manifest says: its digest differs",
    );
    let other = text(&manifest(&[("policy.toml", changed.as_bytes())]));
    check(
        &[file("manifest.json", &other), file("policy.toml", changed.as_bytes())],
        "is no whole bundle (manifest.json says policy 1, policy.toml another): \
            make it again with `lists import`",
    );
    let mut newer = manifest(&[]);
    newer["format"] = json!(2);
    newer["colour"] = json!("red");
    check(
        &[file("manifest.json", &text(&newer))],
        "is of format 2 and this version reads 1: install the version that made it",
    );
    let mut bomb = manifest(&[("policy.toml", POLICY)]);
    bomb["members"][0]["bytes"] = json!((1_u64 << 30) + 1);
    check(
        &[file("manifest.json", &text(&bomb)), policy()],
        "unpacks to more than 1073741824 bytes: leave out what no group blocks",
    );
    let many = vec![("preset.toml", &b""[..]); 1027];
    check(
        &[file("manifest.json", &text(&manifest(&many)))],
        "is no whole bundle (it has too many members): make it again with `lists import`",
    );
    let large = vec![b' '; (1 << 20) + 1];
    check(&[file("manifest.json", &large)], "member `manifest.json` is larger than 1048576 bytes");
    let said = refusal(&bed, &packed(&[file("manifest.json", b"{}")]));
    assert!(said.contains("its manifest: missing field `format`"), "{said}");
    let said = refusal(&bed, b"version = \"1\"\n");
    assert!(said.starts_with("1.bundle: is no whole bundle ("), "{said}");
}

#[test]
fn what_follows_the_end_is_refused() {
    let bed = Bed::new();
    let text = manifest(&[("policy.toml", POLICY)]).to_string();
    let parts = [file("manifest.json", text.as_bytes()), file("policy.toml", POLICY)];
    let whole = packed(&parts);
    let said = "1.bundle: is no whole bundle (something follows its end): make it again with `lists import`";
    assert_eq!(refusal(&bed, &[&*whole, b"x"].concat()), said);
    // Zeros that unpack to gigabytes behind the end of the archive are not unpacked.
    let mut archive = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(&*whole), &mut archive).unwrap();
    let mut padded = GzEncoder::new(Vec::new(), Compression::best());
    padded.write_all(&archive).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 1 << 20), &mut padded).unwrap();
    assert_eq!(refusal(&bed, &padded.finish().unwrap()), said);
}

fn small(bed: &Bed) -> PathBuf {
    bed.make(1)
}

/// Whether a bundle unpacks.
fn unpacks(bed: &Bed, bundle: &Path) -> bool {
    let folder = tempfile::tempdir_in(bed.folder.path()).unwrap();
    unpack(of(bundle), folder.path()).is_ok()
}

#[test]
fn half_a_bundle_is_refused_wherever_it_is_cut() {
    let bed = Bed::new();
    let bundle = small(&bed);
    let whole = fs::read(&bundle).unwrap();
    assert!(unpacks(&bed, &bundle));
    let cut = bed.path("cut.bundle");
    let keys = [bed.public.clone()];
    let signature = super::signature_path(&bundle);
    fs::copy(&signature, super::signature_path(&cut)).unwrap();
    for bytes in 0..whole.len() {
        fs::write(&cut, &whole[..bytes]).unwrap();
        // By its signature, and were it signed as it is.
        let error = super::key::verify(of(&cut), &keys).unwrap_err().to_string();
        assert!(error.contains("is not what was signed"), "{bytes}: {error}");
        assert!(!unpacks(&bed, &cut), "cut at {bytes} of {}", whole.len());
    }
    let said = "1.bundle: is not what was signed, but changed or cut since: copy it again";
    fs::write(&bundle, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(bed.refusal(&bundle), said);
}

#[test]
fn half_a_signature_is_refused_wherever_it_is_cut() {
    let bed = Bed::new();
    let bundle = small(&bed);
    let path = super::signature_path(&bundle);
    let whole = fs::read(&path).unwrap();
    // The last byte is the end of the last line.
    for bytes in 0..whole.len() - 1 {
        fs::write(&path, &whole[..bytes]).unwrap();
        assert!(
            super::key::verify(of(&bundle), std::slice::from_ref(&bed.public)).is_err(),
            "{bytes}"
        );
    }
}

#[test]
fn a_changed_byte_is_refused_wherever_it_is() {
    let bed = Bed::new();
    let bundle = small(&bed);
    let whole = fs::read(&bundle).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&bundle, changed).unwrap();
        assert!(
            super::key::verify(of(&bundle), std::slice::from_ref(&bed.public)).is_err(),
            "{at}"
        );
    }
}

#[test]
fn a_strangers_bundle_is_refused() {
    let (bed, stranger) = (Bed::new(), Bed::new());
    let bundle = stranger.make(1);
    let said = bed.apply(&bundle).unwrap_err();
    assert_eq!(
        stranger.told(&said),
        "1.bundle: is signed by a key that is not in policy.keys: ask who made it"
    );
    fs::remove_file(super::signature_path(&bundle)).unwrap();
    let said = bed.apply(&bundle).unwrap_err();
    assert_eq!(
        stranger.told(&said),
        "1.bundle.minisig: the signature is missing: it belongs beside the bundle"
    );
    let mut config = bed.config();
    config.policy.keys.clear();
    assert_eq!(
        bed.told(&bed.apply_with(&config, &bundle).unwrap_err()),
        "no key is configured that bundles are signed by: write keys = [\"RW…\"] under [policy]"
    );
}
