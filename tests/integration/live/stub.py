"""Asks the same query again and again; prints what came back, and the shortest time it took, in us."""
import json, socket, sys, time

address, query, tries = sys.argv[1], bytes.fromhex(sys.argv[2]), int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
stub = socket.socket(family, socket.SOCK_DGRAM)
stub.settimeout(2)
stub.connect((address, 53))
best, answer = None, b""
for _ in range(tries):
    start = time.perf_counter_ns()
    stub.send(query)
    try:
        answer = stub.recv(4096)
    except OSError as error:
        print(json.dumps({"error": str(error)}))
        sys.exit(0)
    took = (time.perf_counter_ns() - start) // 1000
    best = took if best is None else min(best, took)
print(json.dumps({"answer": answer.hex(), "best_us": best}))
