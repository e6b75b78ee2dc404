"""wapiti over the whole site, signed in, and a server of the drill's own for what the application may be made to fetch.

``crawl.py WAPITI``. Left out are its modules for what is not here (WordPress, Spring, an LDAP directory ...), those
that guess passwords or names, those that need a database from the internet, and ``ssl``, which wants a public
certificate.
It says that a form lacks a token of any without a field of that name, such as those whose script sends the header; so
what it reports is sent once more without a token, and only counts when it is not refused.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from routes import things
from served import Served, Visitor, finish, table

MODULES = (
    "backup,cookieflags,crlf,csp,csrf,exec,file,htaccess,http_headers,https_redirect,methods,permanentxss,"
    "redirect,sql,ssrf,timesql,upload,xss,xxe"
)
# What would end the session or the account in mid-scan.
EXCLUDED = ("/logout", "/account/delete", "/account/sessions/*", "/account/password", "/account/two-factor/*")
HOLES = {
    "SQL Injection": "/holes/sql",
    "Reflected Cross Site Scripting": "/holes/echo",
    "Open Redirect": "/holes/leave",
    "Server Side Request Forgery": "/holes/fetch",
}
FORGERY = "Cross Site Request Forgery"


class Catcher(ThreadingHTTPServer):
    """Whom a forged request of the application would reach; tells wapiti what came, as its own server does."""

    def __init__(self) -> None:
        caught: dict[str, dict[str, list[dict[str, str]]]] = {}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if found := re.match(r"/ssrf/\w+/(\d+)/(\w+)/", self.path):
                    seen = {"url": self.path, "date": "now", "ip": "127.0.0.1", "method": self.command}
                    caught.setdefault(found[1], {}).setdefault(found[2], []).append(seen)
                body = json.dumps(caught if self.path.startswith("/get_ssrf") else {}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def scan(wapiti: str, served: Served, visitor: Visitor, starts: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """What wapiti finds from *starts* on with the cookies of *visitor*: kinds and where."""
    visitor.token()  # the session that the tokens of its forms belong to
    folder = served.folder / f"wapiti-{len(visitor.cookies)}-{id(visitor)}"
    folder.mkdir()
    command = [
        wapiti, "-u", f"{served.url}/", "-m", MODULES, "-f", "json", "-o", str(folder / "report.json"),
        "--no-bugreport", "--flush-session", "--store-session", str(folder), "--store-config", str(folder),
        "--endpoint", f"http://127.0.0.1:{Catcher().server_port}/", "--tasks", "4",
        "--max-attack-time", "60", "--skip", "csrf_token",
        "-C", "; ".join(f"{name}={value}" for name, value in visitor.cookies.items()),
        *(option for path in starts for option in ("-s", served.url + path)),
        *(option for path in EXCLUDED for option in ("-x", served.url + path)),
    ]  # fmt: skip
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if not (folder / "report.json").exists():
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    if "-v" in sys.argv:
        print(done.stdout[-9000:])
    found = json.loads((folder / "report.json").read_text())
    every = {**found["vulnerabilities"], **found["anomalies"]}  # what is left are remarks
    return [(kind, each) for kind, several in every.items() for each in several]


def refused(visitor: Visitor, finding: dict[str, str]) -> bool:
    """Whether a form that is said to lack a token is refused when it comes from elsewhere."""
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": "https://elsewhere.example"}
    return visitor.ask(finding["path"], finding["method"], "text=Hello", **form).status >= 400


def main(wapiti: str) -> None:
    with Served(limited=False, holes=True) as served:
        member, email = served.member()
        mine = things(served, member, email)
        inside = ["/chat", "/account/settings", "/holes", *(f"/chat/{each}" for each in mine.ids["conversation_id"])]
        who = {
            "signed in": (member, inside),
            "guest": (served.visitor(), ["/login", "/register", "/reset", "/confirm"]),
        }
        with ThreadPoolExecutor(2) as pool:
            several = list(pool.map(lambda each: scan(wapiti, served, *each), who.values()))
        answered, faults, still = served.answered(), served.faults(), member.ask("/chat").status
        seen = {path for _, path in served.routes_seen() if not path.startswith("/holes")}
        found = [(kind, each) for findings in several for kind, each in findings]
        holes = {kind for kind, path in HOLES.items() if any((kind, path) == (k, e["path"]) for k, e in found)}
        found = [(kind, each) for kind, each in found if not each["path"].startswith("/holes")]
        wrong = [each for kind, each in found if kind == FORGERY and refused(member, each)]
    problems = [
        f"{kind}: {each['method']} {each['path']} {each['parameter'] or ''} {each['info']}"
        for kind, each in found if each not in wrong
    ]  # fmt: skip
    findings = len(problems)
    if still != 200:
        problems.append("the scanner was signed out in mid-scan")
    problems += [f"wapiti did not find the drill's own hole: {kind}" for kind in HOLES.keys() - holes]
    version = subprocess.run([wapiti, "--version"], capture_output=True, text=True).stdout.split()[-1]
    table(
        ("wapiti", version),
        ("modules", MODULES.replace(",", " ")),
        ("pages and forms reached", len(seen)),
        ("requests", answered.total()),
        ("statuses", dict(sorted(answered.items()))),
        ("forms said to lack a token, and refused", len({each["path"] for each in wrong})),
        ("own holes found", f"{len(holes)} of {len(HOLES)}: {', '.join(sorted(holes))}"),
        ("findings", findings),
        ("faults in the log", len(faults)),
    )
    if "-v" in sys.argv:
        print(sorted(seen))
    finish([*problems, *faults[:5]])


if __name__ == "__main__":
    main(sys.argv[1])
