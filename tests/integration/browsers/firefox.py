"""Loads pages in one Firefox, one after the other, and says what it showed: one JSON line a page.

Arguments: "tcp" or "quic", a directory for its home, the authority's certificate, names. By QUIC it goes where it
was told that a name has HTTP/3, and over TCP if nothing comes of it. "text" is what the page shows, "error" the browser's word for why it could not be loaded. Talks Marionette, which Firefox is tested with.
"""

import json
import os
import socket
import subprocess
import sys
import time

transport, home, authority, *names = sys.argv[1:]
profile = f"{home}/profile"
START_S = 40
PATIENCE_MS = 8000
PREFERENCES = {
    "marionette.port": 0,
    "network.http.http3.enable": transport == "quic",
    # It would ask for these by itself, and there is no network but the lab's.
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "app.normandy.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "services.settings.server": "data:,",
}
if transport == "quic":
    PREFERENCES |= {
        "network.http.http3.alt-svc-mapping-for-testing": ",".join(f"{name};h3=:443" for name in names),
        # The lab's authority is nobody's but the lab's.
        "network.http.http3.disable_when_third_party_roots_found": False,
        # It does not try TCP beside it before so many milliseconds.
        "network.http.http3.backup_timer_delay": 4000,
    }


def prepare():
    os.makedirs(profile)
    subprocess.run(["certutil", "-d", f"sql:{profile}", "-N", "--empty-password"], check=True)
    add = ["-A", "-t", "C,,", "-n", "lab", "-i", authority]
    subprocess.run(["certutil", "-d", f"sql:{profile}", *add], check=True)
    with open(f"{profile}/user.js", "w") as file:
        for key, value in PREFERENCES.items():
            file.write(f'user_pref("{key}", {json.dumps(value)});\n')


class Browser:
    def __init__(self):
        log = open(f"{home}/firefox.log", "w")
        command = ["firefox-esr", "--headless", "--no-remote", "--marionette", "--profile", profile]
        environment = os.environ | {"HOME": home, "TMPDIR": home, "MOZ_CRASHREPORTER_DISABLE": "1"}
        subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.connection = self.connect().makefile("rwb")
        self.last = 0
        self.read()
        strict = {"alwaysMatch": {"acceptInsecureCerts": False}}
        self.ask("WebDriver:NewSession", {"capabilities": strict})
        if transport == "quic":
            # It waits half a minute for an answer.
            self.ask("WebDriver:SetTimeouts", {"pageLoad": PATIENCE_MS})

    def connect(self):
        limit = time.monotonic() + START_S
        while True:
            try:
                with open(f"{profile}/MarionetteActivePort") as file:
                    return socket.create_connection(("127.0.0.1", int(file.read())))
            except (FileNotFoundError, ValueError, ConnectionRefusedError):
                if time.monotonic() > limit:
                    raise
                time.sleep(0.1)

    def ask(self, method, parameters={}):
        """The result and the error, one of which is None."""
        self.last += 1
        message = json.dumps([0, self.last, method, parameters]).encode()
        self.connection.write(b"%d:%s" % (len(message), message))
        self.connection.flush()
        _, _, error, result = self.read()
        return result, error

    def read(self):
        length = b""
        while (digit := self.connection.read(1)) != b":":
            if not digit:
                raise EOFError("Firefox has ended")
            length += digit
        return json.loads(self.connection.read(int(length)))

    def load(self, url):
        _, error = self.ask("WebDriver:Navigate", {"url": url})
        script = {"script": "return document.body.innerText", "args": []}
        result, unread = self.ask("WebDriver:ExecuteScript", script)
        if unread:
            raise RuntimeError(unread["message"])
        # Behind the reason the page's address repeats what is known.
        return result["value"], error["message"].partition("&")[0] if error else ""


prepare()
browser = Browser()
for name in names:
    text, error = browser.load(f"https://{name}/")
    print(json.dumps({"name": name, "text": text, "error": error}), flush=True)
