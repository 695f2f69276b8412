//! IPv4 (RFC 791) with options, IPv6 (RFC 8200) with a bounded walk of its extension headers.

use super::link::{IPV4, IPV6};
use super::{Link, Packet, Skip};
use crate::abi::Address;
use crate::cursor::{Cursor, bound};

/// Extension headers walked. RFC 8200 names six kinds, each at most once but for one.
pub const EXTENSION_HEADERS_MAX: u32 = 6;

/// Bytes of extension headers walked: real ones need a few dozen.
pub const EXTENSION_BYTES_MAX: usize = 256;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
pub(super) const FRAGMENT: u8 = 44;
pub(super) const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;
/// For experiments (RFC 3692).
const EXPERIMENT_1: u8 = 253;
const EXPERIMENT_2: u8 = 254;

/// Reads the IP header and gives a packet whose transport fields are still empty.
#[inline(always)]
pub(super) fn parse(
    cursor: &mut Cursor<'_>,
    ether_type: u16,
    frame_length: u32,
) -> Result<Packet, Skip> {
    match ether_type {
        IPV4 => ipv4(cursor, frame_length),
        IPV6 => ipv6(cursor, frame_length),
        _ => Err(Skip::NotIp),
    }
}

/// What is left for the transport: the IP length says it, the frame bounds it.
/// A length of 0 is a segmentation-offload frame or a jumbogram: then the frame says it alone.
#[inline(always)]
fn transport_length(stated: u32, headers: u32, in_frame: u32) -> u32 {
    if stated == 0 || stated - headers > in_frame { in_frame } else { stated - headers }
}

#[inline(always)]
fn ipv4(cursor: &mut Cursor<'_>, frame_length: u32) -> Result<Packet, Skip> {
    let network = cursor.offset() as u32;
    let header = cursor.header::<20>()?;
    let first = header.u8::<0>();
    let header_length = u32::from(first & 0x0f) * 4;
    let total_length = u32::from(header.u16::<2>());
    if first >> 4 != 4
        || header_length < 20
        || (total_length != 0 && total_length < header_length)
        || frame_length < network + header_length
    {
        return Err(Skip::Malformed);
    }
    // More fragments, or an offset (RFC 791 section 3.1); the don't-fragment bit is no matter.
    if header.u16::<6>() & 0x3fff != 0 {
        return Err(Skip::Fragment);
    }
    cursor.skip(header_length as usize - 20);
    let transport = network + header_length;
    Ok(Packet {
        source: Address::from_ipv4_word(header.word32::<12>()),
        destination: Address::from_ipv4_word(header.word32::<16>()),
        source_port: 0,
        destination_port: 0,
        protocol: header.u8::<9>(),
        tcp_flags: 0,
        ip_version: 4,
        hop_limit: header.u8::<8>(),
        link: Link::Plain as u8,
        network,
        transport,
        payload: transport,
        payload_length: transport_length(total_length, header_length, frame_length - transport),
        sequence: 0,
        acknowledgement: 0,
    })
}

#[inline(always)]
fn ipv6(cursor: &mut Cursor<'_>, frame_length: u32) -> Result<Packet, Skip> {
    let network = cursor.offset() as u32;
    let header = cursor.header::<40>()?;
    if header.u8::<0>() >> 4 != 6 {
        return Err(Skip::Malformed);
    }
    let stated = u32::from(header.u16::<4>());
    let mut protocol = header.u8::<6>();
    let extensions_at = cursor.offset();
    let mut walked = 0;
    while is_extension(protocol) {
        // Hop-by-hop options come first and once (RFC 8200 section 4.1); receivers discard others.
        if walked == EXTENSION_HEADERS_MAX || (protocol == HOP_BY_HOP && walked > 0) {
            return Err(Skip::ExtensionHeaders);
        }
        // Here and not behind the last line: a loop must not end in what it starts with, because kernels
        // before 6.3 take no loop that is closed by running into its first instruction.
        cursor.converge();
        let extension = cursor.header::<8>()?;
        let length = match protocol {
            FRAGMENT => {
                // An atomic fragment (RFC 6946) is a whole packet.
                if extension.u16::<2>() & 0xfff9 != 0 {
                    return Err(Skip::Fragment);
                }
                8
            }
            AUTHENTICATION => (usize::from(extension.u8::<1>()) + 2) * 4,
            _ => (usize::from(extension.u8::<1>()) + 1) * 8,
        };
        if length < 8 || cursor.offset() + length - 8 > extensions_at + EXTENSION_BYTES_MAX {
            return Err(Skip::ExtensionHeaders);
        }
        protocol = extension.u8::<0>();
        cursor.skip(length - 8);
        walked += 1;
    }
    cursor.converge();
    let protocol = bound::<0xff>(u32::from(protocol)) as u8;
    let transport = cursor.offset() as u32;
    let extensions = transport - extensions_at as u32;
    if frame_length < transport || (stated != 0 && stated < extensions) {
        return Err(Skip::Malformed);
    }
    Ok(Packet {
        source: Address([header.word64::<8>(), header.word64::<16>()]),
        destination: Address([header.word64::<24>(), header.word64::<32>()]),
        source_port: 0,
        destination_port: 0,
        protocol,
        tcp_flags: 0,
        ip_version: 6,
        hop_limit: header.u8::<7>(),
        link: Link::Plain as u8,
        network,
        transport,
        payload: transport,
        payload_length: transport_length(stated, extensions, frame_length - transport),
        sequence: 0,
        acknowledgement: 0,
    })
}

/// Extension headers of IANA's registry, but for ESP, behind which nothing can be read.
const EXTENSIONS: [u8; 10] = [
    HOP_BY_HOP,
    ROUTING,
    FRAGMENT,
    AUTHENTICATION,
    DESTINATION_OPTIONS,
    MOBILITY,
    HOST_IDENTITY,
    SHIM6,
    EXPERIMENT_1,
    EXPERIMENT_2,
];

/// True for what is in [`EXTENSIONS`]. Without a branch for each: the verifier would walk the rest of
/// the program for every one of them, at every header.
#[inline(always)]
pub(super) fn is_extension(protocol: u8) -> bool {
    const fn quarter(number: u8) -> u64 {
        let mut bits = 0;
        let mut rest: &[u8] = &EXTENSIONS;
        while let [extension, others @ ..] = rest {
            if *extension >> 6 == number {
                bits |= 1 << (*extension & 63);
            }
            rest = others;
        }
        bits
    }
    const { assert!(quarter(1) == 0, "the second quarter has none") };
    let protocol = bound::<0xff>(u32::from(protocol));
    let [low, third, last] = const { [quarter(0), quarter(2), quarter(3)] };
    // All ones where the number is the quarter's.
    let is = |number: u32| u64::from((protocol >> 6) ^ number).wrapping_sub(1) >> 63;
    let bits =
        low & is(0).wrapping_neg() | third & is(2).wrapping_neg() | last & is(3).wrapping_neg();
    bits >> (protocol & 63) & 1 == 1
}
