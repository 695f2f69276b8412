"""Answers on ports, over UDP and TCP, and says what it heard: one JSON line each. Arguments: ports."""

import json
import select
import socket
import sys


def tell(event, port=0):
    print(json.dumps({"event": event, "port": port}), flush=True)


datagrams, listeners = {}, {}
for port in map(int, sys.argv[1:]):
    datagrams[port] = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagrams[port].bind(("::", port))
    listeners[port] = socket.create_server(
        ("::", port), family=socket.AF_INET6, dualstack_ipv6=True
    )
tell("listening")
while True:
    for ready in select.select([*datagrams.values(), *listeners.values()], [], [])[0]:
        port = ready.getsockname()[1]
        if ready.type == socket.SOCK_DGRAM:
            data, peer = ready.recvfrom(2048)
            ready.sendto(data, peer)
            tell("datagram", port)
        else:
            with ready.accept()[0] as connection:
                connection.settimeout(3)
                connection.sendall(connection.recv(2048))
            tell("connection", port)
