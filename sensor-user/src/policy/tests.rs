//! Shipped policies, and what the README shows of one.

use sensor_ebpf::abi::{LOCKED, NoName};

use super::*;

fn rules(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules").join(file)
}

#[test]
fn a_missing_policy_file_is_named() {
    let error = Policy::load(Path::new("/no/policy.toml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/no/policy.toml: cannot read /no/policy.toml \
            (No such file or directory (os error 2)): \
            relative paths start at the folder of the policy file"
    );
}

#[test]
fn the_shipped_policy_loads_and_blocks_every_category() {
    let policy = Policy::load(&rules("policy.toml")).unwrap();
    assert_eq!(policy.warnings().shown, []);
    let student = policy.group_of("10.20.0.5".parse().unwrap());
    assert_eq!(policy.group_name(student), "student");
    // The table in the file says what holds without it.
    let without = fixture::load(&[(
        "policy.toml",
        "version = \"1\"\ndefault_group = \"all\"\n\
            category = [{ id = \"any\", title = \"\", covers = \"\" }]\n\
            group = [{ name = \"all\", block = [\"any\"] }]",
    )])
    .unwrap();
    for reason in no_name::JUDGED {
        let default = without.decide_no_name(reason, GroupId::default());
        assert_eq!(policy.decide_no_name(reason, student), default, "{}", reason.name());
    }
    for category in policy.categories() {
        let filled = policy.lists().iter().any(|list| list.mask & category.bit != 0);
        assert!(filled, "{} has no list", category.id);
    }
    for (name, expected) in [
        ("video.piracy.example", "block"),
        ("dns.google", "block"),
        ("www.childline.org.uk", "allow"),
        ("example.ac.uk", "allow"),
    ] {
        assert_eq!(policy.decide(name, student).verdict.name(), expected, "{name}");
    }
}

/// What is blocked as circumvention must not take lessons away with it.
#[test]
fn the_circumvention_pack_says_where_from_and_spares_what_lessons_need() {
    let policy = Policy::load(&rules("policy.toml")).unwrap();
    let student = policy.group_named("student").unwrap();
    let day: Date = "2026-11-22".parse().unwrap();
    let pack = [
        "encrypted-dns",
        "relays",
        "tor",
        "vpns",
        "web-proxies",
        "ports",
        "hidden-names",
        "dual-use",
    ];
    for id in pack {
        let list = policy.lists().iter().find(|list| list.id == id).unwrap();
        assert_eq!(list.dated, Some(day), "{id}");
        let text = std::fs::read_to_string(&list.file).unwrap();
        assert!(text.contains("\n# licence: "), "{id}");
        // Each group of names has its own source and date, below those of the list.
        let groups = text.split("\n\n").skip(1).map(str::trim);
        for group in groups {
            assert!(group.contains("\n# source: "), "{id}: {group}");
            assert!(group.contains("\n# date: 2026-"), "{id}: {group}");
        }
    }
    for (name, expected) in [
        ("chrome.cloudflare-dns.com", "block"),
        ("mask-h2.icloud.com", "block"),
        ("bridges.torproject.org", "block"),
        ("uk1234.nordvpn.com", "block"),
        ("de-fra.prod.surfshark.com", "block"),
        ("www.croxyproxy.com", "block"),
        ("abc.ngrok-free.app", "alert"),
        ("udp/51820", "block"),
        ("udp/443", "allow"),
        ("udp/4500", "allow"),
        ("cloudflare-ech.com", "allow"),
        // Whoever shares a name or a network with them.
        ("www.cloudflare.com", "allow"),
        ("cdnjs.cloudflare.com", "allow"),
        ("www.icloud.com", "allow"),
        ("gateway.icloud.com", "allow"),
        ("www.google.com", "allow"),
        ("fonts.gstatic.com", "allow"),
        ("d111111abcdef8.cloudfront.net", "allow"),
        ("ajax.aspnetcdn.com", "allow"),
        ("github.githubassets.com", "allow"),
        ("mail.proton.me", "allow"),
        ("www.opera.com", "allow"),
        ("addons.mozilla.org", "allow"),
        ("www.quad9.net", "allow"),
        ("teams.microsoft.com", "allow"),
        ("translate.google.com", "allow"),
    ] {
        let decision = policy.decide(name, student);
        assert_eq!(decision.verdict.name(), expected, "{name}");
    }
    let why = policy.why("uk1234.nordvpn.com", student, day).unwrap().to_string();
    assert!(why.contains("(circumvention)"), "{why}");
    assert!(
        why.contains("of 2026-11-22, 0 days old\n             source: the vendors' own names"),
        "{why}"
    );
}

#[test]
fn the_examples_of_the_readme_load() {
    let readme = std::fs::read_to_string(rules("README.md")).unwrap();
    let example = |language: &str, number: usize| {
        let start = format!("```{language}\n");
        readme.split(&*start).nth(number).unwrap().split("```").next().unwrap().to_owned()
    };
    let policy = fixture::load(&[
        ("policy.toml", &(example("toml", 1) + &example("toml", 2))),
        ("college.toml", &example("toml", 3)),
        ("piracy.txt", &example("text", 1)),
        ("helplines.txt", "help.example"),
    ])
    .unwrap();
    let names: Vec<_> = policy.entries().map(|(name, _)| name).collect();
    for (reason, group, expected) in [
        (NoName::Fragment, "student", "block"),
        (NoName::SlotFull, "student", "alert"),
        (NoName::Oversize, "staff", "alert"),
        (NoName::Fragment, "staff", "undecided"),
    ] {
        let group = policy.group_named(group).unwrap();
        assert_eq!(policy.decide_no_name(reason, group).name(), expected, "{}", reason.name());
    }
    assert!(names.contains(&"xn--filme-fr-alle-2ob.example"), "{names:?}");
    assert_eq!(policy.warnings().shown, []);
    let categories = ["piracy", "social-media", "translation"]
        .map(|id| format!("[[category]]\nid = \"{id}\"\ntitle = \"\"\ncovers = \"\"\n"));
    let start = "version = \"1\"\ndefault_group = \"student\"\n";
    let schedules = [start, &example("toml", 4), &categories.concat()].concat();
    let mut policy = fixture::load(&[("policy.toml", &schedules)]).unwrap();
    policy.turn(policy.moment("2026-11-23T09:30").unwrap());
    assert_eq!(policy.schedules_on(), ["lessons"]);

    let exam = "time_zone = \"Europe/London\"\n[[category]]\nid = \"exam-board\"\ntitle = \"\"\ncovers = \"\"\n\
        [[schedule]]\nid = \"exam\"\nterms = [\"2026-11-24\"]\n[[group]]\nname = \"student\"\n";
    let locked = example("toml", 7).replace("/etc/campus-sensor/", "");
    let policy = [start, exam, &example("toml", 5), &example("toml", 6), &locked].concat();
    let hash = format!("{:064x}\n", 7);
    let policy = fixture::load(&[("policy.toml", &policy), ("watch.sha256", &hash)]).unwrap();
    assert_eq!(policy.lists().last().map(|list| list.mask), Some(LOCKED));
    let [student, counsellors] = ["student", "counsellors"].map(|group| policy.group_named(group));
    assert!(policy.leaves_out(counsellors.unwrap(), 0) && !policy.leaves_out(student.unwrap(), 0));
}

#[test]
fn every_preset_loads() {
    for (preset, categories) in [("ukfe-8", 11), ("tec-4", 13)] {
        let path = rules(&format!("presets/{preset}.toml"));
        let policy = fixture::load(&[(
            "policy.toml",
            &format!(
                "version = \"1\"\ndefault_group = \"all\"\npreset = {:?}\n\
                    group = [{{ name = \"all\" }}]",
                path.display().to_string()
            ),
        )])
        .unwrap();
        assert_eq!(policy.categories().count(), categories, "{preset}");
    }
}
