"""Accepts connections on ports, answers nothing, and says what comes of each: one JSON line an event.

Arguments: ports. Events: listening, accepted, bytes, reset, end; "bytes" counts what was read so far,
"at" is the machine's monotonic clock, which every namespace shares.
"""

import json
import socket
import sys
import threading
import time

ports = [int(port) for port in sys.argv[1:]]
turn = threading.Lock()


def tell(event, peer=("", 0), count=0):
    line = {"event": event, "peer": peer[0].removeprefix("::ffff:"), "port": peer[1]}
    line |= {"bytes": count, "at": time.monotonic()}
    with turn:
        print(json.dumps(line), flush=True)


def follow(connection, peer):
    count = 0
    tell("accepted", peer)
    try:
        while chunk := connection.recv(65536):
            count += len(chunk)
            tell("bytes", peer, count)
        tell("end", peer, count)
    except ConnectionResetError:
        tell("reset", peer, count)


def accept(listener):
    while True:
        connection, peer = listener.accept()
        threading.Thread(target=follow, args=(connection, peer), daemon=True).start()


listeners = [
    socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    for port in ports
]
threads = [threading.Thread(target=accept, args=(listener,)) for listener in listeners]
for thread in threads:
    thread.start()
tell("listening")
