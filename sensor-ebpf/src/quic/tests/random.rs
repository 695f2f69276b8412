//! Pieces in any order, and datagrams that are none.

use super::*;

/// Numbers that look random, the same in every run.
pub(super) fn random(seed: u32) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize % below
    }
}

/// The stream cut at random places, each piece twice at most, in any order, in packets among other frames.
fn scrambled(stream: &[u8], random: &mut impl FnMut(usize) -> usize) -> Vec<Vec<u8>> {
    let mut cuts = vec![0, stream.len()];
    cuts.extend((0..random(30)).map(|_| random(stream.len())));
    cuts.sort_unstable();
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for pair in cuts.windows(2) {
        let from = pair[0].saturating_sub(random(3) * random(40));
        let to = (pair[1] + random(3) * random(40)).min(stream.len());
        // A frame of its own for each packet's worth.
        for at in (from..to).step_by(1100) {
            frames.insert(random(frames.len() + 1), crypto(at, &stream[at..to.min(at + 1100)]));
        }
    }
    let mut packets = vec![Vec::new()];
    for frame in frames {
        let last = packets.last_mut().unwrap();
        if last.len() + frame.len() > 1150 || random(9) == 0 {
            packets.push(frame);
            continue;
        }
        last.extend(match random(5) {
            0 => vec![0; random(70)],
            1 => vec![1],
            2 => vec![2, 9, 0, 1, 3, 0, 2],
            3 => vec![3, 0x40, 9, 0, 0, 3, 1, 2, 3],
            _ => Vec::new(),
        });
        last.extend(frame);
    }
    packets
}

#[test]
fn scrambled_pieces_give_the_name() {
    for seed in 0..400 {
        let mut random = random(seed);
        let name = format!("n{seed}.example");
        let stream = hello(&name);
        let mut client = Client::default();
        let mut end = Step::Pause;
        for (number, payload) in (0..).zip(scrambled(&stream, &mut random)) {
            let padded = [payload, vec![0; random(60) + 4]].concat();
            end = match client.take(&Initial::of(number).protect(&padded)) {
                Ok(Step::Pause) => end,
                taken => taken.unwrap(),
            };
        }
        assert_eq!((end, client.names()), (Step::Found, vec![name]), "{seed}");
        assert_eq!(client.streams[0].slot.next, stream.len() as u32);
    }
}

#[test]
fn hostile_datagrams_end() {
    let sample = bytes(CLIENT_INITIAL_V1);
    for length in 0..sample.len() {
        assert!(Client::default().take(&sample[..length]).is_err(), "{length}");
    }
    for seed in 0..1500 {
        let mut random = random(seed);
        let mut client = Client::default();
        for _ in 0..3 {
            let datagram = match random(3) {
                // The header of an Initial with some bytes changed.
                0 => {
                    let mut packet = sample.clone();
                    for _ in 0..=random(4) {
                        let within = [30, packet.len()][random(2)];
                        let at = random(within);
                        packet[at] = random(256) as u8;
                    }
                    packet
                }
                // Frames that look alike, and end anywhere.
                1 => {
                    let kinds = [0, 1, 2, 3, 6, 6, 6, 0x1c, 0x40, 0x80, 0xff, 4, 32];
                    let payload: Vec<u8> =
                        (0..=random(1200)).map(|_| kinds[random(kinds.len())]).collect();
                    Initial::of(random(9) as u64).protect(&payload)
                }
                _ => (0..random(1500)).map(|_| random(256) as u8 | 0x80).collect(),
            };
            // That it ends, and reads nothing out of bounds, is what is asked.
            let taken = client.take(&datagram);
            assert_ne!(taken, Ok(Step::More));
        }
    }
}
