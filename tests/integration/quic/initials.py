"""Reads a capture of UDP, and says of each QUIC connection in it what its client's Initials have told: one JSON line
a connection, and one for each other datagram.

Argument: a capture file of Ethernet frames. A connection is told by the first destination identifier its client
used, from which the keys of its Initials are made. Ports come again: an Initial to an identifier that its client
cannot have from the server is one of another connection.
"""

import json
import struct
import sys

from aioquic.buffer import Buffer
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicFrameType, QuicPacketType, pull_ack_frame, pull_quic_header
from aioquic.tls import pull_client_hello

QUIC_PORTS = (80, 443)
UDP = 17
SERVER_NAME = 0


def datagrams(file):
    """Time, addresses with ports, payload."""
    header = file.read(24)
    assert header[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1"), header
    fraction = 1e-6 if header[0] == 0xD4 else 1e-9
    while len(header := file.read(16)) == 16:
        seconds, part, length, _ = struct.unpack("<IIII", header)
        frame = file.read(length)
        kind = frame[12:14]
        if kind == b"\x08\x00" and frame[23] == UDP:
            ends, at = (frame[26:30], frame[30:34]), 14 + 4 * (frame[14] & 15)
        elif kind == b"\x86\xdd" and frame[20] == UDP:
            ends, at = (frame[22:38], frame[38:54]), 54
        else:
            continue
        source, destination, bytes_ = struct.unpack(">HHH", frame[at : at + 6])
        yield seconds + part * fraction, (ends[0], source), (ends[1], destination), frame[at + 8 : at + bytes_]


class Connection:
    def __init__(self, header):
        self.header = header
        self.sent, self.retried = [], False
        self.identifiers = {header.destination_cid}
        self.begin(header.destination_cid)

    def begin(self, identifier):
        """Also behind a Retry, when the client says everything once more."""
        self.keys = CryptoPair()
        self.keys.setup_initial(identifier, is_client=False, version=self.header.version)
        self.crypto, self.initials, self.repeated, self.unread = {}, 0, 0, 0
        self.hellos = []

    def answer(self, payload):
        """One datagram of the server's. Of several Retries a client takes the first."""
        try:
            header = pull_quic_header(Buffer(data=payload), host_cid_length=8)
        except ValueError:
            return
        if header.source_cid:
            self.identifiers.add(header.source_cid)
        if header.packet_type == QuicPacketType.RETRY and not self.retried:
            self.retried = True
            self.begin(header.source_cid)

    def take(self, payload):
        """One datagram of the client's."""
        has_crypto, at, was_whole = False, 0, self.is_whole()
        while at < len(payload) and payload[at] & 0x80:
            buffer = Buffer(data=payload[at:])
            try:
                header = pull_quic_header(buffer)
            except ValueError:
                break
            was_sent_before = self.retried and header.destination_cid == self.header.destination_cid
            if header.packet_type == QuicPacketType.INITIAL and not was_sent_before:
                try:
                    packet = payload[at : at + header.packet_length]
                    plain = self.keys.decrypt_packet(packet, buffer.tell(), 0)[1]
                    has_crypto |= self.take_frames(Buffer(data=plain))
                except Exception:
                    self.unread += 1
            at += header.packet_length
        self.initials += has_crypto
        if has_crypto and not was_whole:
            self.hellos.append(payload.hex())

    def take_frames(self, frames):
        has_crypto = False
        while not frames.eof():
            kind = frames.pull_uint_var()
            if kind == QuicFrameType.CRYPTO:
                has_crypto, offset = True, frames.pull_uint_var()
                for place, byte in enumerate(frames.pull_bytes(frames.pull_uint_var()), offset):
                    self.repeated += place in self.crypto
                    self.crypto[place] = byte
            elif kind in (QuicFrameType.ACK, QuicFrameType.ACK_ECN):
                pull_ack_frame(frames)
                if kind == QuicFrameType.ACK_ECN:
                    [frames.pull_uint_var() for _ in range(3)]
            elif kind not in (QuicFrameType.PADDING, QuicFrameType.PING):
                break
        return has_crypto

    def hello(self):
        """The hello's bytes without a gap, and its length if that is known."""
        got = bytearray()
        while len(got) in self.crypto:
            got.append(self.crypto[len(got)])
        return bytes(got), 4 + int.from_bytes(got[1:4], "big") if len(got) >= 4 else None

    def is_whole(self):
        got, length = self.hello()
        return length is not None and len(got) >= length

    def told(self):
        got, length = self.hello()
        is_whole = self.is_whole()
        return {
            "connection": self.header.destination_cid.hex(),
            "version": self.header.version,
            "sent": self.sent,
            "initials": self.initials,
            "unread": self.unread,
            "repeated": self.repeated,
            "hello_bytes": len(self.crypto),
            "is_whole": is_whole,
            "name": pull_client_hello(Buffer(data=got[:length])).server_name if is_whole else None,
            "text": got.hex(),
            "hellos": self.hellos,
        }


known, connections, others = {}, [], []
with open(sys.argv[1], "rb") as file:
    for at, source, destination, payload in datagrams(file):
        if (destination, source) in known:
            known[destination, source].answer(payload)
            continue
        flow = source, destination
        if destination[1] in QUIC_PORTS and payload and payload[0] & 0x80:
            try:
                header = pull_quic_header(Buffer(data=payload))
                is_known = flow in known and header.destination_cid in known[flow].identifiers
                if header.packet_type == QuicPacketType.INITIAL and not is_known:
                    known[flow] = Connection(header)
                    connections.append(known[flow])
            except (ValueError, KeyError):
                pass
        if flow in known:
            known[flow].sent.append(at)
            known[flow].take(payload)
        else:
            others.append({"payload": payload.hex()})
for connection in connections:
    print(json.dumps(connection.told()))
for datagram in others:
    print(json.dumps(datagram))
