"""People at a site, who write down what they were told: in a process of their own, over https.

``ledger.py URL CA ACCOUNTS BOOK STREAMS RATE WORDS``. ACCOUNTS is a JSON list of [address, password]. STREAMS answers
of WORDS words are followed at once, each through whatever happens to its connection; RATE requests a second look at
pages beside them. A JSON line for each request and each answer goes to BOOK. On SIGTERM they ask no more, wait for
their answers, open every conversation once more and write what is missing.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import signal
import ssl
import sys
import threading
import time
import uuid
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

URL, CA, ACCOUNTS, BOOK = urlsplit(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
STREAMS, RATE, WORDS = int(sys.argv[5]), float(sys.argv[6]), int(sys.argv[7])
TERMINAL = ("done", "stopped", "error", "interrupted", "waiting")
LOOKERS = 10
context = ssl.create_default_context(cafile=CA)
stopping = threading.Event()
book = Path(BOOK).open("w", buffering=1)
lock = threading.Lock()


def note(**entry: Any) -> None:
    with lock:
        book.write(json.dumps({"at": time.time()} | entry) + "\n")


class Person:
    """One account, with a browser's cookies."""

    def __init__(self, email: str, password: str):
        self.cookies: dict[str, str] = {}
        self.local = threading.local()
        self.token = json.loads(self.get("/account/csrf")[1])["token"]
        status, _ = self.ask("POST", "/login", {"email": email, "password": password}, accept="text/html")
        if status != 302:
            raise SystemExit(f"signing in answers {status}")
        self.token = json.loads(self.get("/account/csrf")[1])["token"]
        self.asked: list[tuple[str, str]] = []

    def connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(URL.hostname or "", URL.port, context=context, timeout=40)

    def open(self, connection: Any, method: str, path: str, form: dict[str, str] | None, accept: str) -> Any:
        headers = {"Accept": accept, "Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        if form is not None:
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "X-CSRFToken": self.token}
            headers["Referer"] = URL.geturl() + "/"
        connection.request(method, path, urlencode(form) if form is not None else None, headers)
        response = connection.getresponse()
        for cookie in response.headers.get_all("Set-Cookie") or []:
            self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(cookie).items()}
        return response

    def ask(self, method: str, path: str, form: dict[str, str] | None = None, accept: str = "application/json",
            keep: bool = False) -> tuple[int, str]:  # fmt: skip
        """Status and body; 0 when there was no answer. *keep*: on this thread's open connection."""
        started = time.monotonic()
        connection = getattr(self.local, "kept", None) if keep else None
        connection = connection or self.connection()
        try:
            response = self.open(connection, method, path, form, accept)
            status, body, why = response.status, response.read().decode(), response.headers.get("Content-Type", "")
        except (OSError, http.client.HTTPException) as error:
            status, body, why = 0, "", repr(error)
            connection.close()
            connection = None
        self.local.kept = connection if keep else None
        if not keep and connection:
            connection.close()
        failed = not 200 <= status < 400
        more = {"why": why, "body": body[:200]} if failed else {}
        note(what="request", status=status, path=path, seconds=time.monotonic() - started, failed=failed, **more)
        return status, body

    def get(self, path: str, **more: Any) -> tuple[int, str]:
        return self.ask("GET", path, **more)

    def chat(self) -> None:
        """Ask one question after the other, in one conversation."""
        time.sleep(random.random() * 3)
        conversation = ""
        while not stopping.is_set():
            key = str(uuid.uuid4())
            form = {"text": f"count to {WORDS} {key}", "client_key": key}
            status, body = self.ask("POST", f"/chat/{conversation}/messages" if conversation else "/chat", form)
            if status == 201:
                answer = json.loads(body)
                conversation = conversation or answer["url"].rsplit("/", 1)[1]
                self.asked.append((key, f"/chat/{conversation}"))
                Answer(self, re.findall(r'data-events="([^"]+)"', answer["messages"])[0]).follow()
            else:
                stopping.wait(1)

    def look(self) -> None:
        """Read pages and files at an even pace, mostly on one connection."""
        paths = ["/livez", "/login", "/account/csrf", "/chat"]
        page = self.get("/login", accept="text/html")[1]
        paths += re.findall(r'(?:href|src)="(/static/[^"]+)"', page)[:4]
        due = time.monotonic() + random.random()
        while not stopping.is_set():
            due = max(due + LOOKERS / RATE, time.monotonic() - 1)
            time.sleep(max(0, due - time.monotonic()))
            path = random.choice([*paths, *([random.choice(self.asked)[1]] if self.asked else [])])
            self.get(path, accept="text/html", keep=random.random() < 0.9)


class Answer:
    """One answer, followed to its end; every event's number is compared with the one before."""

    def __init__(self, person: Person, events: str):
        self.person, self.events, self.last, self.words, self.final, self.end = person, events, 0, "", "", ""
        self.count = dict.fromkeys(("opened", "dropped", "asked to reconnect", "lost", "repeated", "whole"), 0)

    def follow(self) -> None:
        deadline = time.monotonic() + 200
        while not self.end and time.monotonic() < deadline:
            connection = self.person.connection()
            started, ended_well, status, why = time.monotonic(), False, 0, ""
            try:
                path = f"{self.events}?after={self.last}"
                response = self.person.open(connection, "GET", path, None, "text/event-stream")
                status = response.status
                if status == 200:
                    self.count["opened"] += 1
                    ended_well = self.read(response)
                else:
                    why = response.read()[:200].decode()
            except (OSError, http.client.HTTPException, ValueError) as error:
                why = repr(error)
            connection.close()
            self.count["dropped"] += status == 200 and not ended_well
            failed = status != 200
            more = {"why": why} if why else {}
            seconds = time.monotonic() - started
            note(what="stream", status=status, path=self.events, seconds=seconds, failed=failed, **more)
            if not self.end:
                time.sleep(0.7)  # as the stream tells browsers
        seen = list(map(int, re.findall(r"\bw(\d+)\b", self.words)))
        complete = list(map(int, re.findall(r"\bw(\d+)\b", self.final))) == list(range(1, WORDS + 1))
        in_order = self.count["whole"] > 0 or seen == list(range(1, len(seen) + 1))
        note(what="answer", end=self.end, complete=complete and in_order, **self.count)

    def read(self, response: Any) -> bool:
        """Until the stream ends; whether it said why."""
        buffer, told = b"", False
        while chunk := response.read1():
            buffer += chunk
            *frames, buffer = buffer.split(b"\n\n")
            for frame in frames:
                fields = dict(line.split(": ", 1) for line in frame.decode().split("\n") if ": " in line[1:])
                if fields.get("event") == "reconnect":
                    self.count["asked to reconnect"] += 1
                    told = True
                elif "event" in fields and "id" in fields:
                    self.take(fields["event"], int(fields["id"]), json.loads(fields["data"]))
        return told or bool(self.end)

    def take(self, kind: str, number: int, data: dict[str, Any]) -> None:
        if kind == "whole":
            self.count["whole"] += 1
            self.final = " ".join(data["items"]) + data["tail"]
        elif number <= self.last:
            self.count["repeated"] += 1
            return
        else:
            self.count["lost"] += number - self.last - 1
        self.last = number
        if kind in TERMINAL:
            self.end = kind
        elif "append" in data:
            self.words += data["append"]
        elif "set" in data:
            self.final = " ".join(html for _, html in data["set"])


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    people = [Person(*account) for account in json.loads(Path(ACCOUNTS).read_text())]
    work = [threading.Thread(target=people[n % len(people)].chat) for n in range(STREAMS)]
    work += [threading.Thread(target=people[n % len(people)].look) for n in range(LOOKERS)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    found = {"questions": 0, "questions lost": 0, "answers lost": 0}
    for person in people:
        pages = {path: whole_conversation(person, path) for path in {path for _, path in person.asked}}
        for key, path in person.asked:
            found["questions"] += 1
            found["questions lost"] += key not in pages[path]
            found["answers lost"] += 1
        # An answer that is whole has the last word, once.
        found["answers lost"] -= sum(len(re.findall(rf"\bw{WORDS}\b", page)) for page in pages.values())
    note(what="audit", **found)


def whole_conversation(person: Person, path: str) -> str:
    """All messages of a conversation: the page has the newest, and a link to those before."""
    page = text = person.get(path, accept="text/html")[1].partition('role="log"')[2]
    while earlier := re.findall(r'"(/chat/[\w-]+/earlier/[\w-]+)"', page):
        page = person.get(earlier[0], accept="text/html")[1]
        text = page + text
    return text


main()
