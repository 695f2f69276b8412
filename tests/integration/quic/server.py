"""An HTTP/3 server that says what reaches it: one JSON line each.

Arguments: the authority's certificate and its key, the page with "$host" in it, the port, and "retry" where clients
have to show first that they are where they say. Says "listening", "hello" of each hello it has read whole,
"data" when a connection first hands something over, and "request". Each name has a certificate of its own:
browsers ask for all names of one over the same connection.
"""

import asyncio
import datetime
import json
import sys

from aioquic import tls
from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.buffer import Buffer
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import DatagramFrameReceived, HandshakeCompleted, StreamDataReceived
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

authority_file, key_file, page, port, *flags = sys.argv[1:]
with open(authority_file, "rb") as file:
    authority = x509.load_pem_x509_certificate(file.read())
with open(key_file, "rb") as file:
    authority_key = serialization.load_pem_private_key(file.read(), None)
key = ec.generate_private_key(ec.SECP256R1())
certificates = {}


def say(event, **fields):
    print(json.dumps({"event": event} | fields), flush=True)


def certificate_for(name):
    if name not in certificates:
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder(
            authority.subject,
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "campus-sensor lab server")]),
            key.public_key(),
            x509.random_serial_number(),
            now - datetime.timedelta(hours=1),
            now + datetime.timedelta(days=2),
        )
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        certificates[name] = builder.add_extension(names, False).sign(authority_key, hashes.SHA256())
    return certificates[name]


read_hello = tls.Context._server_handle_hello


def read_hello_and_say(context, hello, *buffers):
    name = tls.pull_client_hello(Buffer(data=hello.data_slice(0, hello.capacity))).server_name
    say("hello", name=name or "")
    context.certificate = certificate_for(name or "nameless.example")
    context.certificate_private_key = key
    read_hello(context, hello, *buffers)


tls.Context._server_handle_hello = read_hello_and_say


class Site(QuicConnectionProtocol):
    name, http = "", None

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.name = next(iter(names_of(self._quic.tls.certificate)), "")
            self.protocol, self.http = event.alpn_protocol, H3Connection(self._quic)
            self.is_silent = True
        if self.http is None:
            return
        if self.is_silent and isinstance(event, (StreamDataReceived, DatagramFrameReceived)):
            self.is_silent = False
            say("data", name=self.name)
        for part in self.http.handle_event(event):
            if isinstance(part, HeadersReceived):
                self.answer(part)

    def answer(self, request):
        fields = dict(request.headers)
        host, path = fields[b":authority"].decode(), fields[b":path"].decode()
        say("request", name=host, path=path, protocol=self.protocol, version=self._quic._version)
        body = page.replace("$host", host).encode()
        headers = [(b":status", b"200"), (b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
        self.http.send_headers(request.stream_id, headers)
        self.http.send_data(request.stream_id, body, end_stream=True)
        self.transmit()


def names_of(certificate):
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.DNSName)


async def main():
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    configuration.certificate, configuration.private_key = certificate_for("nameless.example"), key
    retry = "retry" in flags
    await serve("::", int(port), configuration=configuration, create_protocol=Site, retry=retry)
    say("listening")
    await asyncio.Event().wait()


asyncio.run(main())
