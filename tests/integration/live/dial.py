"""Dials as a plan says, and says what comes of each connection: one JSON line as it ends.

Arguments: the plan, the authority's certificate, connections at once. The plan has one JSON object a line:
port (ours, 0 for any), address, to, scheme (https, http, udp), name, path, padding (bytes of the
request beyond need), pieces (further small segments), abort (reset after the first bytes), after
(seconds from the start), timeout. The outcome of an answer that forbids is "page". "sent_at" and "ended_at" are the machine's monotonic clock.
"""

import json
import socket
import ssl
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

plan, authority, at_once = sys.argv[1:]
context = ssl.create_default_context(cafile=authority) if authority else ssl._create_unverified_context()
start = time.monotonic()


def dial(flow, report):
    version = socket.AF_INET6 if ":" in flow["address"] else socket.AF_INET
    udp = flow["scheme"] == "udp"
    with socket.socket(version, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as connection:
        connection.settimeout(flow["timeout"])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.bind(("", flow["port"]))
        connection.connect((flow["address"], flow["to"]))
        report["sent_at"] = time.monotonic()
        if udp:
            return datagrams(connection, flow)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if flow["scheme"] == "https":
            connection = context.wrap_socket(connection, server_hostname=flow["name"])
        with connection:
            return ask(connection, flow, report)


def datagrams(connection, flow):
    for size in range(0, flow["padding"] + 1, 200):
        try:
            connection.send(bytes(size))
        except ConnectionRefusedError:
            pass  # an earlier one was refused


def ask(connection, flow, report):
    head = f"GET {flow['path']} HTTP/1.1\r\nHost: {flow['name']}\r\nConnection: close\r\n"
    padding = f"X-Padding: {'x' * flow['padding']}\r\n" if flow["padding"] else ""
    last = "" if flow["pieces"] else "\r\n"
    connection.sendall((head + padding + last).encode())
    for piece in range(flow["pieces"]):
        connection.sendall(f"X-Piece: {piece}\r\n".encode())
    while chunk := connection.recv(65536):
        if report["bytes"] == 0 and chunk.startswith(b"HTTP/1.1 403 "):
            report["outcome"] = "page"
        report["bytes"] += len(chunk)
        if flow["abort"]:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return


def follow(flow):
    report = {"port": flow["port"], "name": flow["name"], "outcome": "done", "detail": "", "bytes": 0}
    time.sleep(max(0, start + flow["after"] - time.monotonic()))
    try:
        dial(flow, report)
    except ConnectionResetError:
        report["outcome"] = "reset"
    except TimeoutError:
        report["outcome"] = "timeout"
    except Exception as error:
        report |= {"outcome": "other", "detail": f"{type(error).__name__}: {error}"}
    report["ended_at"] = time.monotonic()
    report.setdefault("sent_at", report["ended_at"])
    return report


with open(plan) as lines, ThreadPoolExecutor(int(at_once)) as pool:
    for done in as_completed([pool.submit(follow, json.loads(line)) for line in lines]):
        print(json.dumps(done.result()), flush=True)
