//! Whatever is told in whatever order: what is answered was told, and the past stays as it was known.

use super::{Teller, address};
use crate::identity::Confidence;

/// A generator of numbers that are the same every time (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

/// Histories that are made up.
const SEEDS: u64 = 100;

const ADDRESSES: &[&str] = &["5", "6", "x7", "x8"];
const DEVICES: &[&str] = &["A", "B", "c"];
const USERS: &[&str] = &["smith", "jones", "brown"];

fn line(random: &mut Random, minute: usize) -> String {
    let at = random.of(ADDRESSES);
    let (device, user) = (random.of(DEVICES), random.of(USERS));
    let (past, ahead) = (minute.saturating_sub(random.below(20)), random.below(40));
    let session = random.below(6);
    let told = match random.below(13) {
        0 | 1 => format!("lease {at} {device} host-{device} {past}..{}", minute + ahead),
        2 => format!("released {at}"),
        3 | 4 => format!("seen {at} {device}"),
        5 => format!("gone {at}"),
        6 => format!("start s{session} {device} {at} {user}"),
        7 => format!("start s{session} {device} - {user} since {past}"),
        8 => format!("stop s{session} at {past}"),
        9 => format!("user-id {at} {user} {}", ahead + 1),
        10 => format!("user-out {at} {user}"),
        11 => format!("login {at} {user}"),
        _ => format!("logout {at}"),
    };
    format!("{minute} {told}")
}

#[test]
fn answers_were_told_and_stay_as_they_were_known() {
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let mut teller = Teller::default();
        let mut told = String::new();
        let mut known = Vec::new();
        for minute in 0..60 {
            let line = line(&mut random, minute);
            told.push_str(&line);
            told.push('\n');
            teller.tell(&line);
            let version = teller.store.version();
            for at in ADDRESSES {
                let time = super::time(&minute.to_string()) - 10_000_000;
                let answer = teller.store.resolve(address(at), time);
                if let Some(answer) = &answer {
                    let texts = [answer.user.as_deref(), answer.host_name.as_deref()];
                    for text in texts.into_iter().flatten() {
                        assert!(told.contains(text), "{text} in\n{told}");
                    }
                    let named = answer.host_name.as_deref().zip(answer.mac);
                    assert!(
                        named.is_none_or(|(name, mac)| {
                            name.bytes().last().map(|byte| byte.to_ascii_uppercase())
                                == Some(mac.0[5])
                        }),
                        "another device's name: {answer:?} in\n{told}"
                    );
                    assert!(answer.confidence != Confidence::Inferred || answer.user.is_some());
                }
                known.push((*at, time, version, answer));
            }
        }
        // What was answered at a version is answered again, but where the same version came to know the future.
        for (at, time, version, answer) in known {
            let again = teller.store.resolve_as_known(address(at), time, version);
            assert_eq!(again, answer, "{at} {time} {version} in\n{told}");
        }
    }
}

/// The order of what is learnt within one moment does not matter: nothing but times decides.
#[test]
fn the_order_of_learning_decides_nothing() {
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let mut lines: Vec<String> = (0..8)
            .map(|number| {
                let (at, device) = (random.of(ADDRESSES), random.of(DEVICES));
                let (user, from) = (random.of(USERS), random.below(90));
                if number % 2 == 0 {
                    return format!("100 start s{number} {device} {at} {user} since {from}");
                }
                // One for each address: a renewal goes on with what was told before it.
                let at = ADDRESSES[number / 2];
                format!("100 lease {at} {device} host-{device} {from}..200")
            })
            .collect();
        let forwards = Teller::of(&lines.join("\n"));
        lines.reverse();
        let backwards = Teller::of(&lines.join("\n"));
        for at in ADDRESSES {
            for minute in 0..100 {
                let minute = minute.to_string();
                let answers = (forwards.at(at, &minute), backwards.at(at, &minute));
                assert_eq!(answers.0, answers.1, "{at} {minute}\n{}", lines.join("\n"));
            }
        }
    }
}
