//! Parity of DNS: the same bytes through the host's readers and through the loaded programs give the same
//! names, and the same reasons for no more of them.

use anyhow::Result;
use sensor_ebpf::abi::{NoName, Side};
use sensor_ebpf::cursor::Window;
use sensor_ebpf::dns::{MESSAGE_STEPS_MAX, MessageReader, NAME_STEPS_MAX, NameReader};
use sensor_ebpf::step::Step;
use sensor_lab::dns::{A, AAAA, HTTPS, Query};
use sensor_user::kernel::test_run::action;

use super::dns::frame;
use super::{Bench, Random};

/// Every name the host's readers find, and why there are no more.
fn host_says(payload: &[u8]) -> Vec<Result<Vec<u8>, NoName>> {
    let window = Window::new(payload);
    let mut message = MessageReader::default();
    message.begin_query();
    let _steps = (0..MESSAGE_STEPS_MAX).take_while(|_| message.step(&window)).count();
    let mut found = Vec::new();
    for question in 0..message.questions {
        let mut bytes = [0; 256];
        let mut name = NameReader::default();
        name.begin(message.name_at(question));
        let mut steps = (0..NAME_STEPS_MAX).map(|_| name.step(&window, &mut bytes));
        let end = steps.find(|step| *step != Step::More).expect("an end");
        drop(steps);
        found.push(match end {
            Step::Stop(reason) => Err(reason),
            Step::Found | Step::More | Step::Pause => {
                Ok(bytes[..name.length as usize].to_ascii_lowercase())
            }
        });
    }
    if message.reason() != NoName::Named {
        found.push(Err(message.reason()));
    }
    found
}

#[test]
fn mutilated_queries_read_the_same_on_both_sides() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["nothing.is.blocked.example"])?;
    let mut random = Random(0x5eed_0053);
    let seeds = [
        Query::of("www.mutilated.example", A).bytes(),
        Query::of_several(&["a.example", "b.a.example", "c.example"], HTTPS).bytes(),
        Query { edns: Some(vec![(12, vec![0; 30])]), ..Query::of("x.example", AAAA) }.bytes(),
    ];
    for round in 0..4000_u16 {
        let mut payload = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            let at = random.below(payload.len());
            match random.below(5) {
                0 => payload.truncate(at.max(1)),
                1 => payload[at] = random.next() as u8,
                2 => payload.insert(at, random.next() as u8),
                3 => payload[at] = 0xc0 | random.below(2) as u8,
                _ => payload[at] = payload[at].wrapping_add(1),
            }
        }
        let asked = frame(false, &payload).from_port(1000 + round);
        let before = bench.ingress()?;
        assert_eq!(bench.run(&asked)?.action, action::PASS, "{payload:02x?}");
        let after = bench.ingress()?;
        for said in host_says(&payload) {
            match said {
                Ok(name) => {
                    let event = bench.verdict().expect("a name is told");
                    let name = match name.strip_suffix(b".") {
                        Some(shorter) if !shorter.is_empty() => shorter,
                        _ => &name,
                    };
                    assert_eq!(event.name.as_bytes(), name, "{payload:02x?}");
                }
                Err(reason) => {
                    let counted = after.no_name(reason) - before.no_name(reason);
                    assert!(counted > 0, "{reason:?} {payload:02x?}");
                }
            }
        }
        assert!(bench.verdict().is_none(), "{payload:02x?}");
    }
    Ok(())
}
