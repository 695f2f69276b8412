"""A TLS server that says which bytes each hello had, before its library reads them.

Arguments: certificate, key, port. Prints "listening", then one JSON line for each connection: the client's port and
the hello's record. Answers every request with the same page.
"""

import json
import socket
import ssl
import sys
import threading
import time

certificate, key, port = sys.argv[1:]
RECORD_HEADER = 5
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes"

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.set_alpn_protocols(["http/1.1", "imap"])


def peek(connection):
    while True:
        seen = connection.recv(65536, socket.MSG_PEEK)
        if not seen:
            raise ConnectionError
        whole = RECORD_HEADER + int.from_bytes(seen[3:RECORD_HEADER], "big")
        if len(seen) >= max(whole, RECORD_HEADER):
            return seen[:whole]
        time.sleep(0.001)


def serve(connection, peer):
    try:
        connection.settimeout(10)
        print(json.dumps({"port": peer, "hello": peek(connection).hex()}), flush=True)
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(65536)
            secured.sendall(PAGE)
    except OSError:
        pass  # whoever leaves after the handshake
    finally:
        connection.close()


listener = socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
while True:
    connection, (_, peer, *_) = listener.accept()
    threading.Thread(target=serve, args=(connection, peer), daemon=True).start()
