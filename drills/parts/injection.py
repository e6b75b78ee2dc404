"""sqlmap on every place of every route that takes a value, signed in; limits are off, or they would stop it.

``injection.py SQLMAP`` runs two of them side by side and reads what they found, how often they asked and what the
application answered from the proxy's log.
"""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

from routes import ENDS_SESSIONS, Route, Things, routes, things
from served import PASSWORD, Served, Visitor, finish, table

HEADERS = {"User-Agent": "drill*", "X-Forwarded-For": "127.0.0.1*", "Last-Event-ID": "0*"}
OPTIONS = [
    "--batch", "--drop-set-cookie", "--ignore-redirects", "--ignore-code=*", "--disable-coloring", "--flush-session",
    "--level=1", "--risk=2", "--technique=BESTQ", "--time-sec=2", "--timeout=20", "--retries=0", "--dbms=PostgreSQL",
    "--force-ssl", "--answers=quit=N,bypass=N,skip=N,reduce=N",
]  # fmt: skip
HOLE = Route("the drill's own hole", "GET", "/holes/sql")


def marked(values: dict[str, str], filled: Things) -> dict[str, str]:
    return {name: filled.fill(value) + "*" for name, value in values.items()}


def request(served: Served, route: Route, visitor: Visitor, filled: Things) -> str:
    """A request as sqlmap reads it, every value marked."""
    token = visitor.token()
    path = route.path(marked(filled.values(route), filled))
    query = {"q": "Hello"} if route == HOLE else route.query
    if query:
        path += "?" + urlencode(marked(query, filled), safe="*/")
    form = {"Content-Type": "application/x-www-form-urlencoded"} if route.method == "POST" else {}
    extra = HEADERS if route.endpoint in ("security.login", "chat.run_events") else {}
    headers = {
        "Host": visitor.url.netloc,
        "Cookie": "; ".join(f"{name}={value}" for name, value in visitor.cookies.items()),
        "Referer": f"{served.url}/",
        "X-CSRFToken": token,
    }
    lines = [
        f"{route.method} {path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in (headers | form | extra).items()),
    ]
    return "\n".join(lines) + f"\n\n{urlencode(marked(route.body, filled), safe='*/')}\n"


def targets(served: Served) -> Iterator[tuple[Route, str]]:
    """Requests for all routes that take anything; those that end sessions have an account of their own."""
    member, email = served.member()
    shared = things(served, member, email)
    for route in [*routes(served), HOLE]:
        if route.endpoint == "static" or not (route.parts or route.query or route.body or route == HOLE):
            continue
        filled, visitor = shared, served.visitor()
        if route.endpoint in (*ENDS_SESSIONS, "chat.delete"):
            filled = things(served, *served.member())
        if route.endpoint == "chat.delete":  # the first request would change what all others are answered
            filled.ids["conversation_id"] = [str(uuid.uuid4())]
        if not route.rule.startswith(("/login", "/confirm", "/reset", "/register")):
            visitor.post("/login", email=filled.email, password=PASSWORD)
        yield route, request(served, route, visitor, filled)


def scan(sqlmap: str, folder: Path, number: int, text: str) -> str:
    """What sqlmap says of one request."""
    file = folder / f"{number}.txt"
    file.write_text(text)
    command = [sqlmap, "-r", str(file), f"--output-dir={folder / str(number)}", *OPTIONS]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout


def main(sqlmap: str) -> None:
    problems, places, rows = [], 0, []
    with Served(limited=False, holes=True) as served:
        found = list(targets(served))
        with ThreadPoolExecutor(2) as pool:
            said = list(pool.map(lambda n: scan(sqlmap, served.folder, n, found[n][1]), range(len(found))))
        for (route, text), output in zip(found, said, strict=True):
            tested = len(re.findall(r"does not seem to be injectable", output))
            holes = re.findall(r"^Parameter: .*|^    Type: .*", output, re.MULTILINE)
            places += tested
            if route == HOLE:
                rows.append((route.endpoint, "found" if holes else "NOT FOUND"))
                if not holes:
                    problems.append("sqlmap did not find the drill's own hole")
            elif holes:
                problems.append(f"{route.method} {route.rule}: {' '.join(holes)}")
            elif tested != text.count("*"):
                problems.append(
                    f"{route.method} {route.rule}: {tested} of {text.count('*')} places were tested\n{output[-1500:]}"
                )
        answered = served.answered()
        faults = served.faults()
    version = re.findall(r"\{([\d.]+)", said[0])
    rows = [
        ("sqlmap", version[0]),
        ("routes", len(found) - 1),
        ("places tested", places),
        ("requests", answered.total()),
        ("statuses", dict(sorted(answered.items()))),
        ("faults in the log", len(faults)),
        *rows,
    ]
    table(*rows)
    finish([*problems, *faults[:5]])


if __name__ == "__main__":
    main(sys.argv[1])
