"""Servers that talk in the clear until the client asks for TLS, each in its own protocol.

Arguments: certificate, key, and protocol=port for each server. Prints "listening", then one JSON line for each
hello that was read and each handshake that was completed.
"""

import json
import socket
import ssl
import sys
import threading

certificate, key, *servers = sys.argv[1:]
turn = threading.Lock()


def tell(**event):
    with turn:
        print(json.dumps(event), flush=True)


class Lines:
    """Reads byte by byte: what comes behind the last line is TLS."""

    def __init__(self, connection):
        self.connection = connection

    def exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.connection.recv(count - len(data))
            if not part:
                raise ConnectionError
            data += part
        return data

    def until(self, end):
        data = b""
        while not data.endswith(end):
            data += self.exactly(1)
        return data

    def say(self, text):
        self.connection.sendall(text if isinstance(text, bytes) else text.encode())


def by_lines(greeting, wish, answers, consent):
    """Says the greeting, answers what comes before the line with the wish, and consents to that."""

    def talk(lines):
        lines.say(greeting)
        while True:
            line = lines.until(b"\n").decode().strip()
            if wish in line.upper():
                tag = line.split()[0]
                return lines.say(consent.replace("TAG", tag))
            for start, answer in answers:
                if start in line.upper():
                    lines.say(answer.replace("TAG", line.split()[0]))
                    break

    return talk


def xmpp(lines):
    lines.until(b"version='1.0'>")
    lines.say(
        "<?xml version='1.0'?><stream:stream from='lab' id='1' version='1.0' xml:lang='en' xmlns='jabber:client' "
        "xmlns:stream='http://etherx.jabber.org/streams'><stream:features>"
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
    )
    lines.until(b"/>")
    lines.say("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")


def postgres(lines):
    assert lines.exactly(8) == bytes.fromhex("00000008 04d2162f")
    lines.say("S")


def ldap(lines):
    _, length = lines.exactly(2)
    assert b"1.3.6.1.4.1.1466.20037" in lines.exactly(length)
    lines.say(bytes.fromhex("300c 020101 7807 0a0100 0400 0400"))


def mysql(lines):
    greeting = b"\x0a8.0.0-lab\x00" + bytes(4) + b"12345678" + b"\x00" + bytes.fromhex("ffff")
    greeting += b"\x21\x02\x00" + bytes.fromhex("ffff") + b"\x15" + bytes(10) + b"123456789012\x00"
    lines.say(len(greeting).to_bytes(3, "little") + b"\x00" + greeting)
    header = lines.exactly(4)
    lines.exactly(int.from_bytes(header[:3], "little"))


TALKS = {
    "smtp": by_lines(
        "220 mail.lab ESMTP\r\n",
        "STARTTLS",
        [("EHLO", "250-mail.lab\r\n250-SIZE 1000000\r\n250 STARTTLS\r\n")],
        "220 go on\r\n",
    ),
    "imap": by_lines(
        "* OK IMAP4rev1 ready\r\n",
        "STARTTLS",
        [("CAPABILITY", "* CAPABILITY IMAP4rev1 STARTTLS\r\nTAG OK done\r\n")],
        "TAG OK go on\r\n",
    ),
    "pop3": by_lines("+OK ready\r\n", "STLS", [], "+OK go on\r\n"),
    "ftp": by_lines("220 ready\r\n", "AUTH TLS", [("FEAT", "211-\r\n AUTH TLS\r\n211 end\r\n")], "234 go on\r\n"),
    "nntp": by_lines(
        "200 ready\r\n", "STARTTLS", [("CAPABILITIES", "101 list:\r\nVERSION 2\r\nSTARTTLS\r\n.\r\n")], "382 go on\r\n"
    ),
    "sieve": by_lines('"STARTTLS"\r\nOK ready\r\n', "STARTTLS", [], "OK go on\r\n"),
    "xmpp": xmpp,
    "postgres": postgres,
    "ldap": ldap,
    "mysql": mysql,
}


def serve(connection, protocol, port):
    asked = []

    def read_hello(_, name, __):
        asked.append(name or "")
        tell(event="hello", protocol=protocol, port=port, name=name or "")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = read_hello
    try:
        connection.settimeout(10)
        TALKS[protocol](Lines(connection))
        with context.wrap_socket(connection, server_side=True) as secured:
            tell(event="done", protocol=protocol, port=port, name=asked[-1])
            secured.sendall(b"secured\r\n")
    except (OSError, AssertionError):
        pass  # whoever does not get as far as the handshake's end
    finally:
        connection.close()


def accept(listener, protocol, port):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, protocol, port), daemon=True).start()


threads = []
for server in servers:
    protocol, port = server.split("=")
    listener = socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
    threads.append(threading.Thread(target=accept, args=(listener, protocol, int(port))))
for thread in threads:
    thread.start()
tell(event="listening", protocol="", port=0, name="")
