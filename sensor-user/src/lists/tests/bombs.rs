//! Files that are made to hurt.

use std::fs::File;
use std::io::{self, Read as _, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::{Format, Reason};
use super::{read, read_at, refusal};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn gzip_is_unpacked_whatever_its_name() {
    let packed = gzip(b"a.example\n");
    let names = |text: &[u8]| read(text, Format::Domains).unwrap().names;
    assert_eq!(names(&packed), [("a.example".to_owned(), 1)]);
    let twice = [packed.clone(), gzip(b"b.example\n")].concat();
    assert_eq!(names(&twice), [("a.example".to_owned(), 1), ("b.example".to_owned(), 2)]);
    let cut = read(&packed[..packed.len() - 9], Format::Domains).err().unwrap();
    assert!(cut.ends_with("check that it is there, whole and may be read"), "{cut}");
}

#[test]
fn other_packed_files_and_encodings_are_named() {
    for (text, expected) in [
        (&b"PK\x03\x04x"[..], "list: is a zip file: unpack it, or pack it with gzip"),
        (b"\xfd7zXZ\0", "list: is a xz file: unpack it, or pack it with gzip"),
        (b"\xff\xfea\0", "list: is UTF-16: save it as UTF-8"),
    ] {
        assert_eq!(refusal(text, Format::Domains), expected);
    }
}

#[test]
fn a_line_of_200_megabytes_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"a.example\n").unwrap();
    io::copy(&mut io::repeat(b'x').take(200 << 20), &mut file).unwrap();
    file.write_all(b"\nb.example\n").unwrap();
    let read = read_at(&path, Format::Domains, None).unwrap();
    assert_eq!(read.names, [("a.example".to_owned(), 1), ("b.example".to_owned(), 3)]);
    assert_eq!(read.report.total().of(Reason::LineTooLong), 1);
    assert!(read.report.files[0].examples[0].text.len() < 100);
}

#[test]
fn a_parenthesis_or_quote_that_stays_open_swallows_no_list() {
    let zone = format!("a.example CNAME .\nb SOA (\n{}", "c.example CNAME .\n".repeat(10_000));
    let expected = "list:2: a parenthesis opens here and is not closed within 65536 bytes: \
        close it, or remove the line";
    assert_eq!(refusal(zone.as_bytes(), Format::Rpz), expected);
    let table = format!("domain,note\na.example,\"x\n{}", "c.example,y\n".repeat(20_000));
    let expected = "list:2: a quote opens here and is not closed within 131072 bytes: \
        close it, or remove the line";
    assert_eq!(refusal(table.as_bytes(), Format::Csv), expected);
}

#[test]
fn a_folder_or_a_member_where_there_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = read_at(folder.path(), Format::Hosts, None).err().unwrap().to_string();
    assert!(error.ends_with("is no regular file: name a file, or for format ut1 a folder"));
    let error = read_at(folder.path(), Format::Hosts, Some("x")).err().unwrap().to_string();
    assert!(error.ends_with("remove `member`, or write format = \"ut1\""), "{error}");
}
