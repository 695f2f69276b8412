"""Asks for pages over HTTP/3, each over a connection of its own, and says what came: one JSON line a page.

Arguments: options as JSON, names. The options: "address" and "port" of the server; "authority", a file; "version"
of QUIC; "hello": "small", "long" with the name in the first of two datagrams, "late" with it in the second;
"timeout" in seconds; "patience", the round trip it starts from, of which three pass before it sends anything
again; "together", all at once; "from", the port of the first, behind which each has the next. Ends with 0 if every page came.
"""

import asyncio
import json
import socket
import ssl
import sys
import time

from aioquic import tls
from aioquic.asyncio import QuicConnectionProtocol
from aioquic.buffer import Buffer
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

options, names = json.loads(sys.argv[1]), sys.argv[2:]
PADDING = 21
# More than a datagram holds, and together with the hello less than two.
PADDING_BYTES = 1300
# Type, length, version, random and the length of an empty session identifier.
BEFORE_SUITES = 4 + 2 + 32 + 1

push_hello = tls.push_client_hello


def push_padded_hello(output, hello):
    """With an extension in front of all others or behind them."""
    whole = Buffer(capacity=8192)
    push_hello(whole, hello)
    bytes_ = whole.data
    at = BEFORE_SUITES + bytes_[BEFORE_SUITES - 1]
    at += 2 + int.from_bytes(bytes_[at : at + 2], "big")
    at += 1 + bytes_[at]
    extensions = bytes_[at + 2 :]
    padding = PADDING.to_bytes(2, "big") + PADDING_BYTES.to_bytes(2, "big") + bytes(PADDING_BYTES)
    extensions = padding + extensions if options["hello"] == "late" else extensions + padding
    body = bytes_[4:at] + len(extensions).to_bytes(2, "big") + extensions
    output.push_bytes(bytes_[:1] + len(body).to_bytes(3, "big") + body)


if options["hello"] != "small":
    tls.push_client_hello = push_padded_hello


class Load(QuicConnectionProtocol):
    def __init__(self, connection):
        super().__init__(connection)
        self.http, self.done = H3Connection(connection), asyncio.get_running_loop().create_future()
        self.status, self.body, self.answered_at = 0, b"", 0.0

    def ask(self, name):
        stream = self._quic.get_next_available_stream_id()
        request = {":method": "GET", ":scheme": "https", ":authority": name, ":path": "/"}
        fields = [(key.encode(), value.encode()) for key, value in request.items()]
        self.http.send_headers(stream, fields, end_stream=True)
        self.transmit()

    def quic_event_received(self, event):
        for part in self.http.handle_event(event):
            if isinstance(part, HeadersReceived):
                self.answered_at = time.time()
                self.status = int(dict(part.headers)[b":status"])
            if isinstance(part, DataReceived):
                self.body += part.data
            if part.stream_ended and not self.done.done():
                self.done.set_result(None)


async def load(name):
    configuration = QuicConfiguration(
        alpn_protocols=H3_ALPN, server_name=name, supported_versions=[options["version"]]
    )
    configuration.initial_rtt = options["patience"]
    configuration.verify_mode = ssl.CERT_REQUIRED
    configuration.load_verify_locations(options["authority"])
    connection = QuicConnection(configuration=configuration)
    family, _, _, _, address = socket.getaddrinfo(options["address"], options["port"], type=socket.SOCK_DGRAM)[0]
    here = ("::" if family == socket.AF_INET6 else "0.0.0.0", options["from"] + names.index(name))
    endpoint = asyncio.get_running_loop().create_datagram_endpoint(lambda: Load(connection), local_addr=here)
    transport, page = await endpoint
    started_at, outcome, detail = time.time(), "page", ""
    page.connect(address)
    try:
        async with asyncio.timeout(options["timeout"]):
            await page.wait_connected()
            page.ask(name)
            await page.done
        page.close()
    except TimeoutError:
        outcome = "timeout"
    except (ConnectionError, OSError) as problem:
        outcome, detail = "other", f"{type(problem).__name__}: {connection._close_event}"
    finally:
        transport.abort()
    said = {
        "name": name,
        "outcome": outcome,
        "detail": detail,
        "status": page.status,
        "body": page.body.decode(),
        "seconds": page.answered_at - started_at if page.answered_at else 0.0,
        "answered_at": page.answered_at,
        "connection": connection.original_destination_connection_id.hex(),
    }
    print(json.dumps(said), flush=True)
    return outcome == "page"


async def main():
    if options["together"]:
        return all(await asyncio.gather(*map(load, names)))
    return all([await load(name) for name in names])


sys.exit(0 if asyncio.run(main()) else 1)
