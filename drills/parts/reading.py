"""``reading.py URL COOKIE PATH RATE SECONDS``: asks for a page at an even pace and prints how many milliseconds each
took, counted from when it was due.
"""

from __future__ import annotations

import http.client
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

url, cookie, path, rate, seconds = sys.argv[1:]
host, headers = urlsplit(url).netloc, {"Accept": "text/html", "Cookie": cookie}


def read(due: float) -> float:
    time.sleep(max(0, due - time.perf_counter()))
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    if response.status != 200:
        raise SystemExit(f"{path}: {response.status}")
    return (time.perf_counter() - due) * 1000


began = time.perf_counter()
with ThreadPoolExecutor(16) as pool:
    for took in pool.map(read, (began + n / float(rate) for n in range(int(float(rate) * float(seconds))))):
        print(f"{took:.2f}")
