"""Loads pages in one Chromium, one after the other, and says what it showed: one JSON line a page.

Arguments: "tcp", "quic" or "both", by which it asks; a directory for its home, the authority's certificate, names,
loaded over TLS, or with "http://" in front of them. "text" is what the page shows,
"error" the browser's word for why it could not be loaded. Talks the DevTools protocol over two pipes.
"""

import json
import os
import subprocess
import sys

over, home, authority, *names = sys.argv[1:]
FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run
    --disable-background-networking --disable-component-update --remote-debugging-pipe"""
TRANSPORTS = {
    "tcp": ["--disable-quic"],
    "quic": ["--enable-quic", "--origin-to-force-quic-on=" + ",".join(f"{name}:443" for name in names)],
    "both": ["--enable-quic"],
}
# Once a name has its addresses, its HTTPS record is waited for by milliseconds: too few for a busy machine.
WAIT = "UseDnsHttpsSvcb:UseDnsHttpsSvcbInsecureExtraTimeMin/5s/UseDnsHttpsSvcbInsecureExtraTimeMax/5s"


def trust():
    store = f"{home}/.pki/nssdb"
    os.makedirs(store)
    subprocess.run(["certutil", "-d", f"sql:{store}", "-N", "--empty-password"], check=True)
    add = ["-A", "-t", "C,,", "-n", "lab", "-i", authority]
    subprocess.run(["certutil", "-d", f"sql:{store}", *add], check=True)


class Browser:
    def __init__(self):
        # Chromium reads orders from descriptor 3 and answers on 4.
        theirs, ours = os.pipe(), os.pipe()

        def place():
            os.dup2(os.dup(theirs[0]), 103)
            os.dup2(os.dup(ours[1]), 104)
            os.dup2(103, 3)
            os.dup2(104, 4)

        log = open(f"{home}/chromium.log", "w")
        command = ["chromium", *FLAGS.split(), f"--enable-features={WAIT}"]
        command += TRANSPORTS[over]
        command += [f"--user-data-dir={home}/profile", "about:blank"]
        environment = os.environ | {"HOME": home, "TMPDIR": home}
        subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, close_fds=False, preexec_fn=place
        )
        os.close(theirs[0])
        os.close(ours[1])
        self.orders, self.answers = open(theirs[1], "wb"), open(ours[0], "rb")
        self.buffer, self.last, self.events, self.session = b"", 0, [], None
        pages = self.ask("Target.getTargets")["targetInfos"]
        page = next(target for target in pages if target["type"] == "page")
        attach = {"targetId": page["targetId"], "flatten": True}
        self.session = self.ask("Target.attachToTarget", attach)["sessionId"]
        self.ask("Page.enable")
        self.ask("Page.setLifecycleEventsEnabled", {"enabled": True})

    def ask(self, method, parameters={}):
        self.last += 1
        order = {"id": self.last, "method": method, "params": parameters}
        if self.session:
            order["sessionId"] = self.session
        self.orders.write(json.dumps(order).encode() + b"\0")
        self.orders.flush()
        while (message := self.next()).get("id") != self.last:
            self.events.append(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    def next(self):
        while b"\0" not in self.buffer:
            chunk = self.answers.read1(65536)
            if not chunk:
                raise EOFError("Chromium has ended")
            self.buffer += chunk
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def load(self, url):
        self.events.clear()
        started = self.ask("Page.navigate", {"url": url})
        if "errorText" in started:
            return "", started["errorText"]
        while not any(is_load(event, started["loaderId"]) for event in self.events):
            self.events.append(self.next())
        script = {"expression": "document.body.innerText"}
        text = self.ask("Runtime.evaluate", script)["result"].get("value", "")
        return text, ""


def is_load(event, loader):
    """Of this page: a busy browser is late to say that the one before it has loaded."""
    said = event.get("params", {})
    is_ours = event.get("method") == "Page.lifecycleEvent" and said["loaderId"] == loader
    return is_ours and said["name"] == "load"


trust()
browser = Browser()
for name in names:
    url = name if "://" in name else f"https://{name}/"
    text, error = browser.load(url)
    if error == "net::ERR_NETWORK_CHANGED":
        # Of a page in a window it does so itself.
        text, error = browser.load(url)
    print(json.dumps({"name": name, "text": text, "error": error}), flush=True)
