"""Lighthouse, from npm, on a fresh project: the front page, sign-in and a conversation, five times each.

Needs node 18 or newer, npm and Chromium. Prints the medians, what each page weighs, and every audit that cost points.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.parse
import zlib
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).parents[1]
LIGHTHOUSE = "lighthouse@12.8.2"
ROUNDS = 5
LEAST = {"performance": 95, "accessibility": 100, "best-practices": 100, "seo": 100}
MOST_BYTES = {"all": 60_000, "Script": 25_000}  # of the conversation, compressed
FLAGS = "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
# Runs with the project's own Python: a server, somebody with a conversation, until standard input ends.
VISITOR = """
import json, pathlib, shutil, sys, tempfile
sys.path[:0] = ["tests"]
from live import LiveServer, Remote
folder = pathlib.Path(tempfile.mkdtemp())
shutil.copy(sys.argv[1], folder / "app.db")
server = LiveServer(folder).start()
try:
    ada = Remote.signed_up(server)
    answer = ada.ask("What can you do?")
    for event in answer.follow():
        pass
    cookie = "; ".join(f"{name}={value}" for name, value in ada.cookies.items())
    print(json.dumps({"url": server.url, "conversation": answer.conversation, "cookie": cookie}), flush=True)
    sys.stdin.read()
finally:
    server.stop()
"""


def run(*command: str, cwd: Path, attempts: int = 1, **environment: str) -> str:
    """Standard output of a command that must succeed, at the last of its attempts at least."""
    for _ in range(attempts):
        done = subprocess.run(
            command, cwd=cwd, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode == 0:
            return done.stdout
    sys.exit(f"{' '.join(command[:4])} failed:\n{done.stdout[-3000:]}")


def lighthouse(tools: Path, url: str, cookie: str) -> dict[str, Any]:
    """One report."""
    headers = tools / "headers.json"
    headers.write_text(json.dumps({"Cookie": cookie} if cookie else {}))
    report = run(
        str(tools / "node_modules/.bin/lighthouse"),
        url,
        "--quiet",
        "--output=json",
        f"--chrome-flags={FLAGS}",
        f"--extra-headers={headers}",
        cwd=tools,
        attempts=3,  # it says so itself when the browser's trace is not usable: "Please run Lighthouse again"
        CHROME_PATH=shutil.which("chromium") or shutil.which("google-chrome") or "",
    )
    result: dict[str, Any] = json.loads(report)
    return result


def compressed(url: str, cookie: str) -> int:
    """Bytes of a response's body, by gzip if the server leaves compressing to the proxy in front."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    headers = {"Accept": "text/html", "Accept-Encoding": "br, gzip"} | ({"Cookie": cookie} if cookie else {})
    connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
    response = connection.getresponse()
    body = response.read()
    return len(body) if response.headers["Content-Encoding"] else min(len(body), len(zlib.compress(body, 6)))


def weights(report: dict[str, Any], url: str, cookie: str) -> dict[str, int]:
    """Compressed bytes by type of what the page itself loads, without what the worker keeps."""
    sizes: dict[str, int] = {"all": 0}
    seen = set()
    for item in report["audits"]["network-requests"]["details"]["items"]:
        kind, address = item.get("resourceType", "Other"), item["url"]
        if address in seen or not address.startswith("http") or kind in ("Manifest", "Other", "EventSource"):
            continue
        seen.add(address)
        size = compressed(address, cookie)
        sizes["all"] += size
        sizes[kind] = sizes.get(kind, 0) + size
    return sizes


def costly(report: dict[str, Any], category: str) -> list[str]:
    references = report["categories"][category]["auditRefs"]
    audits = ((ref["weight"], report["audits"][ref["id"]]) for ref in references)
    return [f"{audit['id']} {audit['score']}" for weight, audit in audits if weight and (audit["score"] or 0) < 0.9]


def examine(tools: Path, name: str, url: str, cookie: str, categories: list[str]) -> bool:
    """Whether the page is good enough; prints its figures."""
    reports = [lighthouse(tools, url, cookie) for _ in range(ROUNDS)]
    good = True
    for category in categories:
        scores = [round(100 * (report["categories"][category]["score"] or 0)) for report in reports]
        median = statistics.median(scores)
        good &= median >= LEAST[category]
        print(f"{name:13} {category:15} {median:5} of at least {LEAST[category]:3}  {scores}", flush=True)
        if median < LEAST[category]:
            print(f"{'':13} {costly(reports[0], category)}", flush=True)
    sizes = weights(reports[-1], url, cookie)
    print(f"{name:13} bytes, compressed  {sizes}", flush=True)
    if name == "conversation":
        good &= all(sizes.get(kind, 0) <= most for kind, most in MOST_BYTES.items())
    return good


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tools = Path(folder)
        run("npm", "install", "--no-audit", "--no-fund", "--silent", LIGHTHOUSE, cwd=tools)
        run(
            sys.executable, "-m", "cookiecutter", "--no-input", "--output-dir", str(tools / "out"), str(TEMPLATE),
            cwd=tools,
        )  # fmt: skip
        (project,) = (tools / "out").iterdir()
        run("make", "--no-print-directory", "setup", cwd=project)
        visitor = subprocess.Popen(
            [".venv/bin/python", "-c", VISITOR, "data/app.db"],
            cwd=project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            there = json.loads(visitor.stdout.readline())  # type: ignore[union-attr]
            url, cookie = there["url"], there["cookie"]
            both = ["performance", "accessibility", "best-practices"]
            results = [
                examine(tools, "front page", f"{url}/", "", [*both, "seo"]),
                examine(tools, "sign-in", f"{url}/login", "", both),
                examine(tools, "conversation", url + there["conversation"], cookie, both),
            ]
        finally:
            visitor.communicate()
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
