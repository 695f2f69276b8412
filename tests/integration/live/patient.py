"""A TLS client that stops and waits to be told to go on: with half its hello sent, and with the request to come.

Arguments: name, address, port, authority's certificate, folder, timeout. It makes a file in the folder where it
stops, `half` and then `ready`, and goes on when `half-on` and `ready-on` are there. Prints one line: what it got.
"""

import json
import os
import socket
import ssl
import sys
import time

name, address, port, authority, folder, timeout = sys.argv[1:]
POLL_SECONDS = 0.01


def stop(where):
    open(os.path.join(folder, where), "w").close()
    until = time.monotonic() + float(timeout)
    while not os.path.exists(os.path.join(folder, where + "-on")):
        if time.monotonic() > until:
            raise TimeoutError(f"nobody said to go on at {where}")
        time.sleep(POLL_SECONDS)


def exchange(connection):
    inbound, outbound = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols(["http/1.1"])
    tls = context.wrap_bio(inbound, outbound, server_hostname=name)

    def until_done(step):
        while True:
            try:
                done = step()
                connection.sendall(outbound.read())
                return done
            except ssl.SSLWantReadError:
                connection.sendall(outbound.read())
                received = connection.recv(65536)
                inbound.write(received) if received else inbound.write_eof()

    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = outbound.read()
    cut = hello.index(name.encode()) + len(name) // 2
    connection.sendall(hello[:cut])
    stop("half")
    connection.sendall(hello[cut:])
    until_done(tls.do_handshake)
    stop("ready")
    tls.write(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    answer = b""
    while part := until_done(lambda: read(tls)):
        answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return {"outcome": "page", "status": int(head.split()[1]), "body": body.decode()}


def read(tls):
    try:
        return tls.read(65536)
    except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
        return b""


try:
    with socket.create_connection((address, int(port)), float(timeout)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(float(timeout))
        result = exchange(connection)
except ConnectionResetError:
    result = {"outcome": "reset"}
except TimeoutError:
    result = {"outcome": "timeout"}
except Exception as error:
    result = {"outcome": "other", "detail": f"{type(error).__name__}: {error}"}
print(json.dumps(result | {"seconds": 0.0}), flush=True)
