"""Ten thousand odd requests over every route and body, signed in and not: none may be answered with a 5xx or leave a
traceback, and the process may not grow.

Each starts from good values (``routes.py``); then some of its path, query, fields, headers, method and content type are
changed. What is drawn depends on the seed alone, which is printed.
"""

from __future__ import annotations

import random
import re
import secrets
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from odd import HEADERS, METHODS, ODD, ODD_BYTES, TYPES
from routes import ENDS_SESSIONS, Route, Things, routes, things
from served import PASSWORD, Served, Visitor, finish, table

REQUESTS, WARM, PEOPLE = 10_000, 3_000, 4  # figures of memory start when caches are full
MOST_GROWTH = 0.10  # of the memory then
LOCK = threading.Lock()


class Person:
    """Somebody who sends odd requests, and another who is signed out, or gone, from time to time."""

    def __init__(self, served: Served, number: int, seed: int):
        self.served, self.draw = served, random.Random(seed + number)
        self.routes = routes(served)
        self.guest, self.sent, self.good = served.visitor(), Counter[int](), set[tuple[str, str]]()
        self.bad: list[str] = []
        self.admin = number == 0
        self.member, self.victim = self.newcomer(self.admin), self.newcomer()
        self.tokens: dict[int, str] = {}

    def newcomer(self, admin: bool = False) -> list[Any]:
        """Somebody with a little of everything: who visits, and their rows."""
        member, email = self.served.member()
        if admin:
            self.served.flask("admin", email)
        with LOCK:  # the script of the model is for whoever asks next
            return [member, things(self.served, member, email)]

    def token(self, visitor: Visitor) -> str:
        if self.draw.random() < 0.05 or id(visitor) not in self.tokens:
            self.tokens[id(visitor)] = visitor.token()
        return self.tokens[id(visitor)]

    def odd(self, good: str) -> str:
        """Another value in the place of a good one, or that one slightly hurt."""
        kind, cut = self.draw.random(), self.draw.randrange(len(good) + 1)
        if kind < 0.6:
            return self.draw.choice(ODD)
        if kind < 0.75:
            return good[:cut] + self.draw.choice(ODD)[:200] + good[cut:]
        if kind < 0.85:
            return good * self.draw.randrange(2, 30)
        return "".join(
            chr(self.draw.choice((self.draw.randrange(0x250), self.draw.randrange(0x110000)))) for _ in range(20)
        )

    def encoded(self, pairs: list[tuple[str, str]]) -> bytes:
        """A query string or a form of *pairs*, some changed, dropped, doubled or added, and bytes that are no text."""
        draw, done = self.draw, []
        for name, value in pairs:
            chance = draw.random()
            if chance < 0.08:
                continue
            done.append((name, self.odd(value) if chance < 0.35 else value))
            if chance > 0.95:
                done.append((name, self.odd(value)))
        if draw.random() < 0.1:
            done.append((self.odd("csrf_token"), self.odd("x")))
        if draw.random() < 0.01:
            done += [(f"f{n}", "x") for n in range(draw.choice((30, 60, 2000)))]
        text = urlencode(done, errors="surrogatepass").encode()
        return text + b"&" + draw.choice(ODD_BYTES) if draw.random() < 0.05 else text

    def multipart(self, pairs: list[tuple[str, str]]) -> tuple[bytes, str]:
        draw, mark = self.draw, "mark"
        parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in pairs]
        names = ["x.png", "../x", "x\x00.png", "ü" * 300, ""]
        picture = draw.choice([b"", b"\x89PNG\r\n\x1a\n", draw.randbytes(3000), b"<svg/>", b"GIF89a" + b"\xff" * 500])
        head = f'--{mark}\r\nContent-Disposition: form-data; name="picture"; filename="{draw.choice(names)}"\r\n'
        body = "".join(parts).encode(errors="surrogatepass") + head.encode()
        body += f"Content-Type: {draw.choice(['image/png', 'x', 'image/svg+xml'])}\r\n\r\n".encode() + picture
        body += draw.choice([b"\r\n--mark--\r\n", b"\r\n--mark", b"", b"\r\n--mark--\r\ntrailing"])
        return body, f"multipart/form-data; boundary={draw.choice((mark, mark, mark, 'other'))}"

    def one(self) -> None:
        """Draw a request, send it, look at the answer."""
        draw = self.draw
        route = draw.choice(self.routes)
        visitor, mine = self.victim if route.endpoint in ENDS_SESSIONS else self.member
        if route.endpoint not in ENDS_SESSIONS and draw.random() < 0.12:
            visitor = self.guest
        values = {name: draw.choice(mine.ids[name]) for name in route.parts}
        if draw.random() < 0.5:
            values = mine.values(route)
        path = route.path(
            {n: quote(self.odd(v) if draw.random() < 0.1 else v, errors="replace") for n, v in values.items()}
        )
        query = [(name, mine.fill(value)) for name, value in route.query.items()]
        if draw.random() < 0.15:
            query.append((draw.choice(("next", "after", "q", "format", "page", "days", "x")), self.odd("1")))
        if query:
            path += "?" + self.encoded(query).decode("latin-1")
        body, headers = self.body(route, mine)
        headers |= {"Referer": f"{self.served.url}/", "Accept": draw.choice(("text/html", "application/json"))}
        method = draw.choice(METHODS) if draw.random() < 0.05 else route.method
        if method not in ("GET", "HEAD"):
            headers["X-CSRFToken"] = self.token(visitor)
        for _ in range(draw.choice((0, 0, 0, 1, 2))):
            name = draw.choice(list(HEADERS))
            headers[name] = draw.choice(HEADERS[name])
        self.send(route, visitor, method, path, body, headers)

    def body(self, route: Route, mine: Things) -> tuple[bytes | None, dict[str, str]]:
        draw = self.draw
        if route.method != "POST" and draw.random() > 0.02:
            return None, {}
        fields = [(name, mine.fill(value)) for name, value in route.body.items()]
        chance = draw.random()
        if route.endpoint == "avatar.upload" or chance < 0.04:
            body, kind = self.multipart(fields)
        elif chance < 0.08:
            body, kind = (
                draw.choice([b"{}", b"[" * 5000, b'{"a":1e999}', b"null", b"\xff\xfe", b""]),
                "application/json",
            )
        else:
            body, kind = self.encoded(fields), TYPES[0]
        if draw.random() < 0.03:
            kind = draw.choice(TYPES)
        if draw.random() < 0.02:
            body = draw.randbytes(draw.choice((1, 100, 5000)))
        if draw.random() < 0.002:
            body = b"a=" + b"x" * 600_000
        return body, {"Content-Type": kind}

    def send(
        self, route: Route, visitor: Visitor, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> None:
        cookies = dict(visitor.cookies)
        try:
            answer = visitor.ask(path, method, body, **headers)
        except (OSError, ValueError) as error:  # refused by the client or by the proxy, which closes
            self.sent[0] += 1
            visitor.connection.close()
            if isinstance(error, TimeoutError):
                self.bad.append(f"no answer within a minute: {method} {path[:200]!r}")
            return
        self.sent[answer.status] += 1
        if answer.status < 400 and method == route.method:
            self.good.add((route.endpoint, method))
        if answer.status >= 500 or "Traceback" in answer.text:
            self.bad.append(f"{answer.status} {method} {path[:300]!r} {(body or b'')[:500]!r} {headers}"[:1800])
        if answer.status >= 400:  # such as a session that a forged cookie was answered with
            visitor.cookies = cookies

    def again(self) -> None:
        """Sign in again whoever has been signed out; one whose account is gone is replaced."""
        for pair in (self.member, self.victim):
            visitor, mine = pair
            if visitor.ask("/chat").status == 200:
                continue
            visitor.cookies.clear()
            self.tokens.pop(id(visitor), None)
            visitor.post("/login", email=mine.email, password=PASSWORD)
            if visitor.ask("/chat").status != 200:
                pair[:] = self.newcomer(self.admin and pair is self.member)


def memory(served: Served) -> float:
    """Megabytes of the worker that nobody else has a part in (PSS)."""
    text = Path(f"/proc/{served.worker}/smaps_rollup").read_text()
    return int(re.findall(r"^Pss: +(\d+)", text, re.MULTILINE)[0]) / 1024


def main() -> None:
    seed = int(sys.argv[1]) if sys.argv[1:] else secrets.randbelow(10**6)
    figures: list[tuple[int, float]] = []
    with Served(limited=False, holes=True) as served:
        people = [Person(served, number, seed) for number in range(PEOPLE)]
        worker, done, lock = served.worker, 0, threading.Lock()

        def work(person: Person) -> None:
            nonlocal done
            while True:
                with lock:
                    if done >= REQUESTS:
                        return
                    done += 1
                    if done >= WARM and done % ((REQUESTS - WARM) // 4) == WARM % ((REQUESTS - WARM) // 4):
                        figures.append((done, memory(served)))
                person.one()
                if done % 100 == 0:
                    person.again()

        with ThreadPoolExecutor(PEOPLE) as pool:
            list(pool.map(work, people))
        for person in people:
            person.again()
        faults, stayed = served.faults(), served.worker == worker
        sent = sum((person.sent for person in people), Counter())
        before = memory(served)
        crashed = served.visitor().ask("/holes/crash").status
        for _ in range(100):
            served.visitor().ask("/holes/leak")
        leaked, own = memory(served) - before, served.faults(own=True)
        every = {(route.endpoint, route.method) for route in people[0].routes}
    good = set().union(*(person.good for person in people))
    bad = [each for person in people for each in person.bad]
    grown = figures[-1][1] / figures[0][1] - 1
    table(
        ("seed", seed),
        ("requests", f"{sent.total()}, of them not sendable or cut off by the proxy: {sent.pop(0, 0)}"),
        ("statuses", dict(sorted(sent.items()))),
        ("routes with methods, and that said yes at least once", f"{len(every)}, {len(good & every)}"),
        ("answers of 5xx or with a traceback", len(bad)),
        ("faults in the log", len(faults)),
        ("memory of the worker (PSS, MB) after requests", ", ".join(f"{n}: {size:.1f}" for n, size in figures)),
        ("growth", f"{grown:+.1%}, at most {MOST_GROWTH:.0%}"),
        ("own holes: crash", f"status {crashed}, in the log {len(own)}"),
        ("own holes: 100 leaks of 4 MB", f"{leaked:+.1f} MB"),
    )
    if "-v" in sys.argv:
        print("never said yes:", sorted(every - good))
    problems = [*sorted(bad)[:: max(1, len(bad) // 12)], *sorted(faults)[:: max(1, len(faults) // 12)]]
    problems += [] if stayed else ["the worker was replaced in mid-run"]
    problems += [] if grown <= MOST_GROWTH else [f"memory grew by {grown:.1%}"]
    problems += [] if crashed == 500 and own and leaked > 100 else ["a hole of the drill's own was not noticed"]
    finish(problems)


if __name__ == "__main__":
    main()
