"""Asks for pages with the hello of a browser, and says what came: one JSON line a page.

Arguments: whom to imitate, the authority's certificate, names. Each request is a connection of its own.
"""

import json
import sys

from curl_cffi import requests

browser, authority, *names = sys.argv[1:]
for name in names:
    text, error = "", ""
    try:
        text = requests.get(f"https://{name}/", impersonate=browser, verify=authority, timeout=10).text
    except requests.exceptions.RequestException as problem:
        # Behind it curl says where it can be read up.
        error = str(problem).partition(". See ")[0]
    print(json.dumps({"name": name, "text": text, "error": error}), flush=True)
