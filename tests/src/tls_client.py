"""One handshake and one request; one JSON line that says what came of it.

Arguments: name, address, port, CA certificate, path, timeout in seconds. Port 80 is plain HTTP.
"""

import json
import socket
import ssl
import sys
import time

name, address, port, authority, path, timeout = sys.argv[1:]


def ask():
    limit = time.monotonic() + float(timeout)
    with socket.create_connection((address, int(port)), timeout=float(timeout)) as connection:
        if port != "80":
            context = ssl.create_default_context(cafile=authority)
            connection = context.wrap_socket(connection, server_hostname=name)
        request = f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
            if time.monotonic() > limit:
                raise TimeoutError
    head, _, body = answer.partition(b"\r\n\r\n")
    return {"outcome": "page", "status": int(head.split()[1]), "body": body.decode(errors="replace")}


start = time.monotonic()
try:
    report = ask()
except ConnectionResetError:
    report = {"outcome": "reset"}
except TimeoutError:
    report = {"outcome": "timeout"}
except Exception as error:
    report = {"outcome": "other", "detail": f"{type(error).__name__}: {error}"}
print(json.dumps(report | {"seconds": time.monotonic() - start}))
