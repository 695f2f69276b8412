//! Each format, line by line.

use std::collections::BTreeSet;
use std::fs;

use sha2::{Digest as _, Sha256};

use super::super::Reason::{
    Address, Blank, Comment, Continuation, Cosmetic, Exception, Expression, Header, InvalidIdn,
    InvalidLine, InvalidName, LabelTooLong, Limited, LocalName, Mapped, Name, NotUtf8, Path,
    Pattern, Port, PublicSuffix, Setting, SingleLabel, TooManyLabels, Trigger, Url,
};
use super::super::guess::of_head;
use super::super::{Format, Reason};
use super::{read, refusal};

/// Checks what each line is counted as, and what names are taken from it.
fn check(format: Format, lines: &[(&[u8], &[Reason], &[&str])]) {
    for end in [&b"\n"[..], b"\r\n"] {
        let mut text = "\u{feff}".as_bytes().to_vec();
        for (line, _, _) in lines {
            text.extend_from_slice(line);
            text.extend_from_slice(end);
        }
        let read = read(&text, format).unwrap();
        for (number, (line, reasons, names)) in (1..).zip(lines) {
            let taken = read.names.iter().filter(|(_, line)| *line == number);
            let taken: Vec<&str> = taken.map(|(name, _)| &**name).collect();
            let line = line.escape_ascii();
            assert_eq!(taken, *names, "{} {number}: {line}", format.name());
            let left_out = reasons.iter().filter(|reason| reason.is_left_out());
            let mut left_out: Vec<Reason> = left_out.copied().collect();
            let file = &read.report.files[0];
            let examples = file.examples.iter().filter(|example| example.line == number);
            for example in examples {
                let place = left_out.iter().position(|reason| *reason == example.reason);
                let place = place.unwrap_or_else(|| panic!("{line}: {example:?}"));
                left_out.swap_remove(place);
            }
        }
        for reason in Reason::ALL {
            let expected = lines.iter().flat_map(|(_, reasons, _)| *reasons);
            let expected = expected.filter(|expected| **expected == reason).count() as u64;
            let found = read.report.total().of(reason);
            let examples = &read.report.files[0].examples;
            assert_eq!(found, expected, "{} {}: {examples:?}", format.name(), reason.name());
        }
    }
}

#[test]
fn domains() {
    let deep = ["a"; 17].join(".");
    let long = format!("{}.example", "a".repeat(64));
    check(
        Format::Domains,
        &[
            (b"# Title: made up", &[Comment], &[]),
            (b"! also", &[Comment], &[]),
            (b"; also", &[Comment], &[]),
            (b"// also", &[Comment], &[]),
            (b"", &[Blank], &[]),
            (b" \t", &[Blank], &[]),
            (b"a.example", &[Name], &["a.example"]),
            (b"\tWWW.B.Example. # why", &[Name], &["www.b.example"]),
            (b"*.c.example", &[Name], &["c.example"]),
            (b".d.example", &[Name], &["d.example"]),
            (b"https://e.example/", &[Name], &["e.example"]),
            (b"https://e.example/page#x", &[Url], &[]),
            (b"e.example/page", &[Url], &[]),
            (b"e.example:8080", &[Port], &[]),
            ("b\u{fc}cher.example".as_bytes(), &[Name], &["xn--bcher-kva.example"]),
            (b"xn--bcher-kva.example", &[Name], &["xn--bcher-kva.example"]),
            (b"b\xfccher.example", &[NotUtf8], &[]),
            (b"f.example # in latin-1: b\xfccher", &[Name], &["f.example"]),
            ("\u{fffd}.example".as_bytes(), &[InvalidIdn], &[]),
            (b"192.0.2.1", &[Address], &[]),
            (b"2001:db8::/32", &[Address], &[]),
            (b"localhost", &[LocalName], &[]),
            (b"co.uk", &[PublicSuffix], &[]),
            (b"word", &[SingleLabel], &[]),
            (b"ads*.example", &[Pattern], &[]),
            (b"two words", &[InvalidLine], &[]),
            (b"a..example", &[InvalidName], &[]),
            (deep.as_bytes(), &[TooManyLabels], &[]),
            (long.as_bytes(), &[LabelTooLong], &[]),
        ],
    );
}

#[test]
fn hosts() {
    check(
        Format::Hosts,
        &[
            (b"# hosts", &[Comment], &[]),
            (b"127.0.0.1 localhost localhost.localdomain", &[LocalName, LocalName], &[]),
            (b"::1 ip6-localhost", &[LocalName], &[]),
            (b"255.255.255.255 broadcasthost", &[LocalName], &[]),
            (b"fe80::1%lo0 localhost", &[LocalName], &[]),
            (b"0.0.0.0 0.0.0.0", &[Address], &[]),
            (b"0.0.0.0 a.example", &[Name], &["a.example"]),
            (b"127.0.0.1\tB.example. c.example #x", &[Name, Name], &["b.example", "c.example"]),
            (b":: d.example", &[Name], &["d.example"]),
            (b"0.0.0.0 e.example 192.0.2.1", &[Name, Address], &["e.example"]),
            (b"192.0.2.7 printer.example", &[Mapped], &[]),
            (b"0.0.0.0", &[Address], &[]),
            (b"f.example", &[InvalidLine], &[]),
            (b"0.0.0.0 g.example/page", &[Url], &[]),
            (b"0.0.0.0 \xff.example", &[NotUtf8], &[]),
            (b"192.0.2.7 \xff.example", &[Mapped], &[]),
        ],
    );
}

#[test]
fn dnsmasq() {
    check(
        Format::Dnsmasq,
        &[
            (b"# dnsmasq", &[Comment], &[]),
            (b"address=/a.example/#", &[Name], &["a.example"]),
            (b"address=/B.example./0.0.0.0", &[Name], &["b.example"]),
            (b"address=/c.example/::", &[Name], &["c.example"]),
            (b"address=/d.example/e.example/", &[Name, Name], &["d.example", "e.example"]),
            (b"server=/f.example/ # why", &[Name], &["f.example"]),
            (b"local=/g.example/", &[Name], &["g.example"]),
            (b"server=/h.example/192.0.2.53", &[Mapped], &[]),
            (b"server=/h.example/#", &[Exception], &[]),
            (b"address=/h.example/192.0.2.7", &[Mapped], &[]),
            (b"address=/#/", &[Pattern], &[]),
            (b"address=/co.uk/", &[PublicSuffix], &[]),
            (b"address=/h.example", &[InvalidLine], &[]),
            (b"address=//", &[InvalidName], &[]),
            (b"server=192.0.2.53", &[Setting], &[]),
            (b"no-resolv", &[Setting], &[]),
            (b"cname=h.example,i.example", &[Setting], &[]),
            (b"h.example", &[InvalidLine], &[]),
            (b"h.example=i", &[InvalidLine], &[]),
        ],
    );
}

#[test]
fn unbound() {
    check(
        Format::Unbound,
        &[
            (b"# unbound", &[Comment], &[]),
            (b"server:", &[Header], &[]),
            (b"  local-zone: \"a.example.\" always_null", &[Name], &["a.example"]),
            (b"local-zone: 'B.example' static", &[Name], &["b.example"]),
            (b"local-zone: c.example always_nxdomain # why", &[Name], &["c.example"]),
            (b"local-zone: \"d.example\" transparent", &[Exception], &[]),
            (b"local-zone: \"d.example\" wrong", &[InvalidLine], &[]),
            (b"local-data: \"e.example. A 0.0.0.0\"", &[Name], &["e.example"]),
            (b"local-data: 'f.example 3600 IN AAAA ::'", &[Name], &["f.example"]),
            (b"local-data: \"g.example A 192.0.2.7\"", &[Mapped], &[]),
            (b"local-data: \"g.example TXT x\"", &[Mapped], &[]),
            (b"local-data: \"g.example A x\"", &[InvalidLine], &[]),
            (b"local-data: \"g.example\"", &[InvalidLine], &[]),
            (b"verbosity: 1", &[Setting], &[]),
            (b"g.example", &[InvalidLine], &[]),
        ],
    );
}

#[test]
fn rpz() {
    check(
        Format::Rpz,
        &[
            (b"$TTL 1h", &[Setting], &[]),
            (b"; comment", &[Comment], &[]),
            (b"@ IN SOA ns.example. admin.example. (", &[Header], &[]),
            (b"   1 ; serial", &[Continuation], &[]),
            (b"", &[Continuation], &[]),
            (b"   2h 1h 1d 1h ) ; end", &[Continuation], &[]),
            (b"  IN NS localhost.", &[Header], &[]),
            (b"a.example IN CNAME .", &[Name], &["a.example"]),
            (b"*.a.example CNAME . ; why", &[Name], &["a.example"]),
            (b"B.example 3600 IN CNAME *.", &[Name], &["b.example"]),
            (b"c.example IN 1d CNAME RPZ-drop.", &[Name], &["c.example"]),
            (b"d.example CNAME rpz-passthru.", &[Exception], &[]),
            (b"d.example CNAME rpz-tcp-only.", &[Limited], &[]),
            (b"d.example CNAME safe.example.", &[Mapped], &[]),
            (b"e.example A 0.0.0.0", &[Name], &["e.example"]),
            (b"  AAAA ::", &[Name], &["e.example"]),
            (b"  AAAA 2001:db8::1", &[Mapped], &[]),
            (b"  TXT \"a ; quoted ( string\"", &[Header], &[]),
            (b"32.1.2.0.192.rpz-ip CNAME .", &[Trigger], &[]),
            (b"ns.example.rpz-nsdname CNAME .", &[Trigger], &[]),
            (b"com CNAME .", &[PublicSuffix], &[]),
            (b"f.example. CNAME .", &[InvalidName], &[]),
            (b"f.example", &[InvalidLine], &[]),
            (b"0.0.0.0 f.example", &[InvalidLine], &[]),
            (b"f\\.x.example CNAME .", &[InvalidName], &[]),
            (b"f\xff.example CNAME .", &[NotUtf8], &[]),
            (b"$ORIGIN sub.example", &[Header], &[]),
            (b"g CNAME .", &[Name], &["g.sub.example"]),
            (b"@ CNAME .", &[Name], &["sub.example"]),
        ],
    );
}

#[test]
fn owners_of_a_zone_are_relative_to_it() {
    check(
        Format::Rpz,
        &[
            (b"$ORIGIN Rpz.Test.", &[Header], &[]),
            (b"@ SOA ns. admin. 1 2 3 4 5", &[Header], &[]),
            (b"a.example CNAME .", &[Name], &["a.example"]),
            (b"b.example.rpz.test. CNAME .", &[Name], &["b.example"]),
            (b"b.example.xrpz.test. CNAME .", &[InvalidName], &[]),
            (b"rpz.test. TXT x", &[Header], &[]),
            (b"$ORIGIN example.rpz.test.", &[Header], &[]),
            (b"c CNAME .", &[Name], &["c.example"]),
            (b"$ORIGIN elsewhere.", &[Header], &[]),
            (b"d CNAME .", &[InvalidName], &[]),
        ],
    );
    // As BIND writes its zones.
    check(
        Format::Rpz,
        &[
            (b"$ORIGIN .", &[Header], &[]),
            (b"rpz.test IN SOA ns. admin. (", &[Header], &[]),
            (b"1 2 3 4 5 )", &[Continuation], &[]),
            (b"$ORIGIN example.rpz.test.", &[Header], &[]),
            (b"a CNAME .", &[Name], &["a.example"]),
        ],
    );
    // As a zone transfer is printed.
    check(
        Format::Rpz,
        &[
            (b"rpz.test. 60 IN SOA ns. admin. 1 2 3 4 5", &[Header], &[]),
            (b"a.example.rpz.test. 60 IN CNAME .", &[Name], &["a.example"]),
        ],
    );
}

#[test]
fn adblock() {
    check(
        Format::Adblock,
        &[
            (b"[Adblock Plus 2.0]", &[Header], &[]),
            (b"! Title: made up", &[Comment], &[]),
            (b"# also", &[Comment], &[]),
            (b"#### also ####", &[Comment], &[]),
            (b"||a.example^", &[Name], &["a.example"]),
            (b"||B.example^|", &[Name], &["b.example"]),
            (b"||c.example^$important,all", &[Name], &["c.example"]),
            (b"||d.example^$document", &[Name], &["d.example"]),
            (b"||*.e.example^", &[Name], &["e.example"]),
            (b"||f.example^$third-party", &[Limited], &[]),
            (b"||f.example^$script,domain=g.example|h.example", &[Limited], &[]),
            (b"||f.example^$badfilter", &[Exception], &[]),
            (b"||f.example", &[Pattern], &[]),
            (b"||ads*.example^", &[Pattern], &[]),
            (b"||f.example/banner", &[Url], &[]),
            (b"||f.example^*/banner", &[Url], &[]),
            (b"||f.example:8080^", &[Port], &[]),
            (b"||192.0.2.1^", &[Address], &[]),
            (b"||co.uk^", &[PublicSuffix], &[]),
            (b"@@||f.example^", &[Exception], &[]),
            (b"@@||f.example^$document", &[Exception], &[]),
            (b"##.banner", &[Cosmetic], &[]),
            (b"f.example,~g.example##.banner", &[Cosmetic], &[]),
            (b"f.example#@#.banner", &[Cosmetic], &[]),
            (b"f.example#$#abort x", &[Cosmetic], &[]),
            (b"/^https?:\\/\\/x$/", &[Expression], &[]),
            (b"/banner/*/ad.", &[Path], &[]),
            (b"&ad_id=", &[Path], &[]),
            (b"-banner-", &[Pattern], &[]),
            (b"f.example", &[Pattern], &[]),
            (b"0.0.0.0 f.example", &[InvalidLine], &[]),
            (b"||^", &[InvalidName], &[]),
        ],
    );
}

#[test]
fn csv() {
    check(
        Format::Csv,
        &[
            (b"# id,domain", &[Comment], &[]),
            (b"id,\"Domain\",note", &[Header], &[]),
            (b"1,a.example,x", &[Name], &["a.example"]),
            (b"2,\" B.example \",\"says \"\"x\"\", y\"", &[Name], &["b.example"]),
            (b"3,c.example,\"goes", &[Continuation], &[]),
            (b"# on,d.example", &[Continuation], &[]),
            (b"\"", &[Name], &["c.example"]),
            (b"4,e.example/page,x", &[Url], &[]),
            (b"5,192.0.2.1,x", &[Address], &[]),
            (b"6,,x", &[InvalidLine], &[]),
            (b"7", &[InvalidLine], &[]),
            (b"8,\xff,x", &[NotUtf8], &[]),
            (b"9,f.example,\xff", &[Name], &["f.example"]),
        ],
    );
    // A rank in front, and no header.
    check(
        Format::Csv,
        &[(b"1\ta.example", &[Name], &["a.example"]), (b"2\tb.example", &[Name], &["b.example"])],
    );
    check(
        Format::Csv,
        &[(b"type;url", &[Header], &[]), (b"x;http://a.example/", &[Name], &["a.example"])],
    );
    assert_eq!(
        refusal(b"a.example,\"x\nb.example,y\n", Format::Csv),
        "list:1: a quote opens here and is not closed within 131072 bytes: \
            close it, or remove the line"
    );
}

fn hash(name: &str) -> String {
    Sha256::digest(name).iter().fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"))
}

#[test]
fn hashes() {
    let text =
        format!("# x\n{}\n{} # y\n{}\n", hash("a"), hash("b").to_uppercase(), "a".repeat(62));
    let read = read(text.as_bytes(), Format::Sha256Hex).unwrap();
    assert_eq!(read.hashes, [<[u8; 32]>::from(Sha256::digest("a")), Sha256::digest("b").into()]);
    assert_eq!(read.report.total().of(InvalidLine), 1);
    assert_eq!(read.report.check().map_err(|error| error.to_string()), Ok(()));
}

/// One set of names as each format writes it.
fn written(format: Format) -> String {
    let names = ["a.example", "b.co.uk", "xn--bcher-kva.example", "d-e.f_g.example", "github.io"];
    let line = |name: &str| match format {
        Format::Domains | Format::Ut1 => format!("{name}\n"),
        Format::Hosts => format!("0.0.0.0 {name}\n"),
        Format::Dnsmasq => format!("address=/{name}/#\n"),
        Format::Unbound => format!("local-zone: \"{name}.\" always_null\n"),
        Format::Rpz => format!("{name} CNAME .\n*.{name} CNAME .\n"),
        Format::Adblock => format!("||{name}^\n"),
        Format::Csv => format!("{name},bad\n"),
        Format::Sha256Hex => format!("{}\n", hash(name)),
    };
    names.map(line).concat()
}

#[test]
fn the_same_names_in_every_format_are_the_same_set_and_the_format_is_guessed() {
    let set = |format: Format| -> BTreeSet<String> {
        let names = read(written(format).as_bytes(), format).unwrap().names;
        names.into_iter().map(|(name, _)| name).collect()
    };
    let expected = set(Format::Domains);
    assert_eq!(expected.len(), 5);
    let hashes: BTreeSet<[u8; 32]> =
        expected.iter().map(|name| Sha256::digest(name).into()).collect();
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Ut1) {
        assert_eq!(of_head(written(format).as_bytes()), Some(format));
        if format == Format::Sha256Hex {
            let read = read(written(format).as_bytes(), format).unwrap();
            assert_eq!(read.hashes.into_iter().collect::<BTreeSet<_>>(), hashes);
        } else {
            assert_eq!(set(format), expected, "{}", format.name());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("domains"), written(Format::Ut1)).unwrap();
    let names = super::read_at(folder.path(), Format::Ut1, None).unwrap().names;
    assert_eq!(names.into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>(), expected);
}

#[test]
fn the_lines_in_the_readme_are_read_as_it_says() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let section = readme.split("## Lists of other formats").nth(1).unwrap();
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Sha256Hex) {
        let row = section.split(&format!("| `{}` | `", format.name())).nth(1).unwrap();
        let line = row.split("` |").next().unwrap().replace("\\|", "|");
        let inspected = if format == Format::Ut1 { Format::Domains } else { format };
        let names = read(line.as_bytes(), inspected).unwrap().names;
        assert!(names.iter().any(|(name, _)| name == "ads.example"), "{line}");
    }
    for reason in Reason::ALL.into_iter().filter(|reason| reason.is_left_out()) {
        let name = reason.name();
        let grouped = name.starts_with("invalid-") || name.ends_with("-too-long");
        assert!(grouped || section.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn nonsense_is_refused_with_what_it_looks_like() {
    assert_eq!(
        refusal(b"# x\n\na.example\n0.0.0.0 b.example\n0.0.0.0 c.example\n", Format::Domains),
        "list:4: 2 of 3 lines make no sense as domains, `0.0.0.0 b.example` is the first: \
            it looks like hosts, write format = \"hosts\""
    );
    assert_eq!(
        refusal(b"<!DOCTYPE html>\n<p>Not\x1b[31m found</p>\n", Format::Hosts),
        "list:1: 2 of 2 lines make no sense as hosts, `<!DOCTYPE html>` is the first: \
            write the format it is in, or see what was downloaded"
    );
    assert_eq!(
        refusal(b"# nothing\n", Format::Hosts),
        "list: has no name that can be enforced: \
            remove the list from the policy, or see what was downloaded"
    );
    assert_eq!(
        refusal(b"a.example\nb.example\n", Format::Adblock),
        "list: has no name that can be enforced: \
            it looks like domains, write format = \"domains\""
    );
    // Half of it may be.
    let read = read(b"a.example\nb c\n", Format::Domains).unwrap();
    assert!(read.report.check().is_ok());
}

#[test]
fn examples_are_few_and_say_where() {
    let text = "a.example\n".to_owned() + &"x\u{1b} y\n".repeat(50) + &"co.uk\n".repeat(50);
    let read = read(text.as_bytes(), Format::Domains).unwrap();
    let places = |reason| read.report.examples(reason).map(|(_, example)| example.line);
    assert_eq!(places(InvalidLine).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(places(PublicSuffix).count(), 20);
    let (_, example) = read.report.examples(InvalidLine).next().unwrap();
    assert_eq!(example.text, "x\\u{1b} y");
    let counts = read.report.total();
    assert_eq!((counts.of(InvalidLine), counts.of(PublicSuffix)), (50, 50));
}
