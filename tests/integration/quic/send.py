"""Sends datagrams, one after the other, and prints those that come back, in hexadecimal digits.

Arguments: address, port, a file with a datagram in hexadecimal digits on each line. Waits for the last answers half a
second.
"""

import socket
import sys

address, port, file = sys.argv[1:]
family, _, _, _, end = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
client = socket.socket(family, socket.SOCK_DGRAM)
client.connect(end)
datagrams = [bytes.fromhex(line) for line in open(file)]
missing = len(datagrams)
for datagram in datagrams:
    try:
        client.send(datagram)
    except ConnectionRefusedError:
        client.send(datagram)
client.settimeout(0.5)
while missing:
    try:
        print(client.recv(65536).hex())
        missing -= 1
    except ConnectionRefusedError:
        continue
    except TimeoutError:
        break
