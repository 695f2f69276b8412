"""Two TLS servers that say whose hello they read: one that begins with TLS, one that speaks first.

Both take MPTCP where the kernel has it. Arguments: certificate, key, port of the first, port of the second. The second greets, reads lines until
one says STARTTLS, tells the client to go on, and begins TLS. Each hello is one JSON line.
"""

import json
import socket
import ssl
import sys
import threading

IPPROTO_MPTCP = 262

certificate, key, tls_port, lines_port = sys.argv[1:]


def tell(event):
    print(json.dumps(event), flush=True)


def read_line(connection):
    line = b""
    while not line.endswith(b"\n"):
        # One byte at a time: what comes behind the last line is TLS.
        byte = connection.recv(1)
        if not byte:
            raise ConnectionError
        line += byte
    return line


def serve(connection, peer, begins_with_tls):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _, name, __: tell({"from": peer, "name": name or ""})
    try:
        connection.settimeout(30)
        if not begins_with_tls:
            connection.sendall(b"220 ready\r\n")
            while read_line(connection).strip() != b"STARTTLS":
                pass
            connection.sendall(b"220 go on\r\n")
        context.wrap_socket(connection, server_side=True).close()
    except OSError:
        pass  # whoever does not finish the handshake
    finally:
        connection.close()


def open_socket():
    try:
        return socket.socket(socket.AF_INET6, socket.SOCK_STREAM, IPPROTO_MPTCP)
    except OSError:  # a kernel without it
        return socket.socket(socket.AF_INET6, socket.SOCK_STREAM)


def accept(port, begins_with_tls):
    listener = open_socket()
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", port))
    listener.listen(64)
    while True:
        connection, (peer, *_) = listener.accept()
        arguments = (connection, peer.removeprefix("::ffff:"), begins_with_tls)
        threading.Thread(target=serve, args=arguments, daemon=True).start()


threading.Thread(target=accept, args=(int(tls_port), True)).start()
threading.Thread(target=accept, args=(int(lines_port), False)).start()
