"""TLS handshakes by the kernel's own TCP; one JSON line for each that says what came of it.

Arguments: kind (plain, mptcp, fastopen), name, address, port, CA certificate, handshakes one after the other.
"""

import json
import socket
import ssl
import sys

IPPROTO_MPTCP = 262

kind, name, address, port, authority, count = sys.argv[1:]
server = (address, int(port))


def shake_hands():
    version = socket.AF_INET6 if ":" in address else socket.AF_INET
    protocol = IPPROTO_MPTCP if kind == "mptcp" else 0
    context = ssl.create_default_context(cafile=authority)
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    secured = context.wrap_bio(received, sent, server_hostname=name)
    with socket.socket(version, socket.SOCK_STREAM, protocol) as connection:
        connection.settimeout(10)
        if kind != "fastopen":
            connection.connect(server)
        opens = kind == "fastopen"
        while True:
            try:
                secured.do_handshake()
                return secured.version()
            except ssl.SSLWantReadError:
                if opens:
                    send_at_once(connection, sent.read())
                    opens = False
                else:
                    connection.sendall(sent.read())
                if not (data := connection.recv(65536)):
                    raise ConnectionError("closed")
                received.write(data)


def send_at_once(connection, data):
    """In the SYN, if there is a cookie; asks for one otherwise."""
    connection.settimeout(None)
    connection.sendto(data, socket.MSG_FASTOPEN, server)
    connection.settimeout(10)


for _ in range(int(count)):
    try:
        report = {"done": True, "detail": shake_hands()}
    except OSError as error:
        report = {"done": False, "detail": f"{type(error).__name__}: {error}"}
    print(json.dumps(report))
