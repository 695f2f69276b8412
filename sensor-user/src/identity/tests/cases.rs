//! One case for each way in which devices, people and those who tell of them behave.

use super::Teller;

/// What is told, and who is where at which minute.
struct Case {
    name: &'static str,
    told: &'static str,
    /// `address minute = answer`, a line each.
    asked: &'static str,
}

const CASES: &[Case] = &[
    // One source.
    Case { name: "nothing is told", told: "", asked: "5 10 = nobody" },
    Case {
        name: "a lease holds from its beginning to its end",
        told: "10 lease 5 A laptop 10..70",
        asked: "5 9 = nobody
                5 10 = A laptop - dhcp-lease stated
                5 69 = A laptop - dhcp-lease stated
                5 70 = nobody
                6 20 = nobody",
    },
    Case {
        name: "a lease without an end holds",
        told: "10 lease 5 A laptop 10..",
        asked: "5 900 = A laptop - dhcp-lease stated",
    },
    Case {
        name: "a device without a name",
        told: "10 lease 5 A - 10..70",
        asked: "5 20 = A - - dhcp-lease stated",
    },
    Case {
        name: "a name without a device, as DHCPv6 leases have it",
        told: "10 lease x5 - laptop 10..70",
        asked: "x5 20 = - laptop - dhcp-lease stated",
    },
    Case {
        name: "a neighbour was there a moment before it was seen",
        told: "10 seen 5 A",
        asked: "5 9.59 = A - - neighbour stated
                5 9.57 = nobody
                5 800 = A - - neighbour stated",
    },
    Case {
        name: "a login on the command line holds until it ends",
        told: "10 login 5 smith\n 30 logout 5",
        asked: "5 9 = nobody
                5 29 = - - smith login stated
                5 30 = nobody",
    },
    Case {
        name: "a mapping of User-ID runs out",
        told: "10 user-id 5 smith 45",
        asked: "5 54 = - - smith user-id stated\n 5 55 = nobody",
    },
    Case {
        name: "a session without a device is of an address",
        told: "10 start s1 - 5 smith",
        asked: "5 20 = - - smith radius stated\n 6 20 = nobody",
    },
    Case {
        name: "a session that nothing is told of is given up",
        told: "10 start s1 A 5 smith",
        asked: "5 1009 = A - smith radius stated\n 5 1010 = nobody",
    },
    // The same address, one after the other.
    Case {
        name: "a lease that another client gets before it ends",
        told: "10 lease 5 A laptop 10..70\n 30 lease 5 B phone 30..90",
        asked: "5 29 = A laptop - dhcp-lease stated\n 5 30 = B phone - dhcp-lease stated",
    },
    Case {
        name: "the second client's end does not bring back the first",
        told: "10 lease 5 A laptop 10..90\n 30 lease 5 B phone 30..40",
        asked: "5 39 = B phone - dhcp-lease stated\n 5 41 = nobody",
    },
    Case {
        name: "a lease that is renewed goes on",
        told: "10 lease 5 A laptop 10..70\n 40 lease 5 A laptop 40..100",
        asked: "5 10 = A laptop - dhcp-lease stated\n 5 99 = A laptop - dhcp-lease stated",
    },
    Case {
        name: "a lease that ran out and was given again has a gap",
        told: "10 lease 5 A laptop 10..20\n 30 lease 5 A laptop 30..40",
        asked: "5 19 = A laptop - dhcp-lease stated
                5 25 = nobody
                5 30 = A laptop - dhcp-lease stated",
    },
    Case {
        name: "a lease that was given back",
        told: "10 lease 5 A laptop 10..70\n 30 released 5",
        asked: "5 29 = A laptop - dhcp-lease stated\n 5 30 = nobody",
    },
    Case {
        name: "a device that is renamed",
        told: "10 lease 5 A laptop 10..70\n 30 lease 5 A notebook 30..90",
        asked: "5 20 = A laptop - dhcp-lease stated\n 5 30 = A notebook - dhcp-lease stated",
    },
    Case {
        name: "the next user's login ends the one before",
        told: "10 login 5 smith\n 20 login 5 jones",
        asked: "5 19 = - - smith login stated\n 5 20 = - - jones login stated",
    },
    Case {
        name: "the next mapping's end does not bring back the one before",
        told: "10 user-id 5 smith 200\n 20 user-id 5 jones 10",
        asked: "5 25 = - - jones user-id stated\n 5 31 = nobody",
    },
    Case {
        name: "a logout of who is there no more",
        told: "10 user-id 5 smith 45\n 20 user-id 5 jones 45\n 25 user-out 5 smith",
        asked: "5 19 = - - smith user-id stated\n 5 26 = - - jones user-id stated",
    },
    Case {
        name: "a logout without a name is of whoever is there",
        told: "10 user-id 5 smith 45\n 25 user-out 5 -",
        asked: "5 24 = - - smith user-id stated\n 5 25 = nobody",
    },
    Case {
        name: "two clients of one server at once",
        told: "10 lease 5 A laptop 10..70\n 10 lease 5 B phone 10..70",
        asked: "5 20 = nobody",
    },
    Case {
        name: "two sessions with one address that began in the same second",
        told: "10 start s1 A 5 smith\n 10 start s2 B 5 jones",
        asked: "5 20 = nobody",
    },
    // Sources that agree.
    Case {
        name: "a lease and a neighbour",
        told: "10 lease 5 A laptop 10..70\n 12 seen 5 A",
        asked: "5 20 = A laptop - neighbour confirmed",
    },
    Case {
        name: "a lease, a neighbour and a session",
        told: "10 start s1 A - smith\n 10 lease 5 A laptop 10..70\n 12 seen 5 A",
        asked: "5 20 = A laptop smith radius stated",
    },
    Case {
        name: "two who tell of one user",
        told: "10 start s1 A 5 smith\n 11 user-id 5 smith 45",
        asked: "5 20 = A - smith user-id confirmed",
    },
    Case {
        name: "a session that has no address until later",
        told: "10 start s1 A - smith\n 11 interim s1 A 5 smith",
        asked: "5 10 = nobody\n 5 11 = A - smith radius stated",
    },
    // Sources that do not.
    Case {
        name: "somebody takes an address that is leased to another",
        told: "10 lease 5 A laptop 10..70\n 30 seen 5 B",
        asked: "5 29 = A laptop - dhcp-lease stated\n 5 31 = B - - neighbour stated",
    },
    Case {
        name: "an old neighbour, and a lease given since",
        told: "10 seen 5 A\n 30 lease 5 B phone 30..90",
        asked: "5 29 = A - - neighbour stated\n 5 30 = B phone - dhcp-lease stated",
    },
    Case {
        name: "a neighbour and a lease of the same moment",
        told: "10 lease 5 A laptop 10..70\n 10.3 seen 5 B",
        asked: "5 11 = B - - neighbour stated",
    },
    Case {
        name: "a session's user is not on another device",
        told: "10 start s1 A 5 smith\n 30 seen 5 B",
        asked: "5 29 = A - smith radius stated\n 5 31 = B - - neighbour stated",
    },
    Case {
        name: "a mapping is not of the device that has the address next",
        told: "10 lease 5 A laptop 10..20\n 11 user-id 5 smith 200\n 30 lease 5 B phone 30..90",
        asked: "5 12 = A laptop smith user-id stated
                5 25 = nobody
                5 31 = B phone - dhcp-lease stated",
    },
    Case {
        name: "a login is not of the device that has the address next",
        told: "10 seen 5 A\n 11 login 5 smith\n 30 seen 5 B",
        asked: "5 29 = A - smith login stated\n 5 31 = B - - neighbour stated",
    },
    Case {
        name: "a mapping of nobody knows which device, and a device that came later",
        told: "10 user-id 5 smith 200\n 30 lease 5 B phone 30..90",
        asked: "5 29 = - - smith user-id stated\n 5 31 = B phone - dhcp-lease stated",
    },
    Case {
        name: "a mapping, and a device that was only found later",
        told: "10 user-id 5 smith 200\n 30 lease 5 A laptop ~30..90",
        asked: "5 31 = A laptop smith user-id stated",
    },
    Case {
        name: "a device that comes back to its address",
        told: "10 seen 5 A\n 11 user-id 5 smith 200\n 20 seen 5 B\n 30 seen 5 A",
        asked: "5 19 = A - smith user-id stated
                5 25 = B - - neighbour stated
                5 31 = A - smith user-id stated",
    },
    Case {
        name: "a login counts against what RADIUS said before",
        told: "10 start s1 A 5 smith\n 20 login 5 jones",
        asked: "5 19 = A - smith radius stated\n 5 21 = A - jones login stated",
    },
    Case {
        name: "what RADIUS says later does not count against a login: nobody knows",
        told: "10 login 5 jones\n 20 start s1 - 5 smith",
        asked: "5 19 = - - jones login stated\n 5 21 = nobody",
    },
    Case {
        name: "what User-ID says later does not count against a login, but the device is known",
        told: "10 seen 5 A\n 11 login 5 jones\n 20 user-id 5 smith 45",
        asked: "5 21 = A - - neighbour stated\n 5 66 = A - jones login stated",
    },
    Case {
        name: "users told at the same moment: User-ID counts before RADIUS",
        told: "10 user-id 5 jones 45\n 10.1 start s1 - 5 smith",
        asked: "5 11 = - - jones user-id stated",
    },
    // RADIUS out of order.
    Case {
        name: "a stop of a session that is not the one there now",
        told: "10 start s1 A 5 smith\n 20 start s2 B 5 jones\n 25 stop s1",
        asked: "5 19 = A - smith radius stated\n 5 30 = B - jones radius stated",
    },
    Case {
        name: "a stop of a session that nobody knows",
        told: "10 start s1 A 5 smith\n 20 stop s9",
        asked: "5 30 = A - smith radius stated",
    },
    Case {
        name: "a stop that comes late",
        told: "10 start s1 A 5 smith\n 60 stop s1 at 20",
        asked: "5 19 = A - smith radius stated\n 5 20 = nobody",
    },
    Case {
        name: "a start that comes after the next session's",
        told: "20 start s2 B 5 jones\n 25 start s1 A 5 smith since 10",
        asked: "5 15 = A - smith radius stated\n 5 30 = B - jones radius stated",
    },
    Case {
        name: "a start that comes after news of its session",
        told: "20 interim s1 A 5 smith\n 25 start s1 A 5 smith since 10",
        asked: "5 9 = nobody\n 5 15 = A - smith radius stated\n 5 30 = A - smith radius stated",
    },
    Case {
        name: "an access point that begins anew ends its sessions, and no other's",
        told: "10 start ap1|1 A 5 smith\n 10 start ap2|1 B 6 jones\n 20 reboot ap1|",
        asked: "5 21 = nobody\n 6 21 = B - jones radius stated",
    },
    Case {
        name: "a device that goes from one access point to the next",
        told: "10 seen 5 A\n 10 start ap1|1 A - smith\n 20 start ap2|1 A - smith\n 20.1 stop ap1|1",
        asked: "5 15 = A - smith radius stated\n 5 30 = A - smith radius stated",
    },
    Case {
        name: "a device that somebody else logs in on",
        told: "10 seen 5 A\n 10 start s1 A - smith\n 20 start s2 A - jones\n 21 stop s2",
        asked: "5 19 = A - smith radius stated
                5 20 = A - jones radius stated
                5 22 = A - - neighbour stated",
    },
    Case {
        name: "a logout ends a session too",
        told: "10 start s1 A 5 smith\n 20 logout 5\n 21 seen 5 A",
        asked: "5 19 = A - smith radius stated\n 5 22 = A - - neighbour confirmed",
    },
    // Devices with several addresses.
    Case {
        name: "a user is at a temporary address of their device",
        told: "10 seen 5 A\n 11 user-id 5 smith 45\n 20 seen x7 A",
        asked: "x7 19 = nobody\n x7 21 = A - smith user-id inferred\n x7 57 = A - - neighbour stated",
    },
    Case {
        name: "a host name is at a temporary address of its device",
        told: "10 lease 5 A laptop 10..70\n 20 seen x7 A",
        asked: "x7 21 = A laptop - neighbour stated\n x7 71 = A - - neighbour stated",
    },
    Case {
        name: "a session's user is at every address of their device",
        told: "10 start s1 A - smith\n 10 seen 5 A\n 20 seen x7 A",
        asked: "5 21 = A - smith radius stated\n x7 21 = A - smith radius stated",
    },
    Case {
        name: "two users at one device: at its third address nobody knows",
        told: "10 seen 5 A\n 10 seen 6 A\n 10 seen x7 A\n 11 user-id 5 smith 45\n 11 user-id 6 jones 45",
        asked: "5 12 = A - smith user-id stated
                6 12 = A - jones user-id stated
                x7 12 = A - - neighbour stated",
    },
    Case {
        name: "a device that moves to another address takes its user along",
        told: "10 lease 5 A laptop 10..70\n 11 user-id 5 smith 45\n 30 lease 6 A laptop 30..90",
        asked: "6 31 = A laptop smith user-id inferred\n 6 57 = A laptop - dhcp-lease stated",
    },
    Case {
        name: "what is left behind is not the next one's",
        told: "10 lease 5 A laptop 10..20\n 11 user-id 5 smith 45\n 15 lease 6 A laptop 15..90
               30 lease 5 B phone 30..90",
        asked: "5 31 = B phone - dhcp-lease stated\n 6 31 = A laptop - dhcp-lease stated",
    },
    Case {
        name: "a neighbour that the kernel forgot is nobody",
        told: "10 seen 5 A\n 20 gone 5",
        asked: "5 19 = A - - neighbour stated\n 5 21 = nobody",
    },
    Case {
        name: "an address that is made up stays so",
        told: "10 lease 5 a phone 10..70",
        asked: "5 20 = a phone - dhcp-lease stated",
    },
    // Clocks.
    Case {
        name: "a server's clock that is ahead: what begins later begins when it is learnt",
        told: "10 lease 5 A laptop 40..90",
        asked: "5 9 = nobody\n 5 10 = A laptop - dhcp-lease stated",
    },
    Case {
        name: "a lease that ended before it began",
        told: "10 lease 5 A laptop 10..9",
        asked: "5 9 = nobody\n 5 10 = nobody",
    },
    Case {
        name: "the clock is set forward: what was is an hour later",
        told: "10 user-id 5 smith 45\n 11 clock 60\n 72 user-id 6 jones 45",
        asked: "5 69 = nobody
                5 71 = - - smith user-id stated
                5 115 = nobody
                6 73 = - - jones user-id stated",
    },
    Case {
        name: "the clock is set back: what was is an hour earlier",
        told: "70 user-id 5 smith 45\n 71 clock -60\n 12 user-id 5 jones 45",
        asked: "5 11 = - - smith user-id stated\n 5 13 = - - jones user-id stated",
    },
];

#[test]
fn every_case_has_its_answers() {
    let mut wrong = Vec::new();
    for Case { name, told, asked } in CASES {
        let teller = Teller::of(told);
        for line in asked.lines().map(str::trim) {
            let (question, expected) = line.split_once(" = ").unwrap();
            let (address, minute) = question.split_once(' ').unwrap();
            let answer = teller.at(address, minute);
            if answer != expected {
                wrong.push(format!("{name}: {question} = {answer}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn there_is_a_case_for_each_way() {
    let mut names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count >= 40, "{count}");
}
