"""Sends every datagram back. Arguments: ports. Says "listening" once."""

import selectors
import socket
import sys

sockets = selectors.DefaultSelector()
for port in sys.argv[1:]:
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", int(port)))
    sockets.register(server, selectors.EVENT_READ)
print("listening", flush=True)
while True:
    for key, _ in sockets.select():
        payload, sender = key.fileobj.recvfrom(65536)
        key.fileobj.sendto(payload, sender)
