"""People who ask, follow, reload and keep books, in a process of their own.

``asker.py PORT PEOPLE BOOK`` writes one JSON line for each request: when, what, how long, whether it was answered.
On SIGTERM they stop asking, wait for their answers, open every conversation once more and write down what is missing:
questions that were accepted, words that were seen more than a second before the last, runs that never end.
"""

from __future__ import annotations

import http.client
import json
import re
import signal
import sys
import threading
import time
import uuid
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

PORT, PEOPLE, BOOK = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
LENGTH = 40  # words of an answer
stopping = threading.Event()
book = open(BOOK, "w", buffering=1)  # noqa: PTH123 (for as long as the process lives)
lock = threading.Lock()


def note(**entry: Any) -> None:
    with lock:
        book.write(json.dumps({"at": time.time()} | entry) + "\n")


class Person:
    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}
        self.asked: list[dict[str, Any]] = []

    def open(self, method: str, url: str, form: dict[str, str] | None = None, accept: str = "application/json") -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=15)
        headers = {"Accept": accept, "Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        if form is not None:
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "X-CSRFToken": self.token}
        connection.request(method, url, urlencode(form) if form is not None else None, headers)
        response = connection.getresponse()
        for cookie in response.headers.get_all("Set-Cookie") or []:
            self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(cookie).items()}
        return response

    def request(self, what: str, *arguments: Any, accept: str = "application/json", **more: Any) -> tuple[int, str]:
        """Status and body; 0 when there was no answer. Refusals that say when to come back are not failures."""
        started = time.monotonic()
        try:
            response = self.open(*arguments, accept=accept, **more)
            status, body = response.status, response.read().decode()
            told = bool(response.headers.get("Retry-After"))
        except (OSError, http.client.HTTPException) as error:
            status, body, told = 0, type(error).__name__, False
        seconds = time.monotonic() - started
        note(
            what=what, status=status, seconds=seconds, failed=status == 0 or status >= 500, told=told, url=arguments[1]
        )
        return status, body

    def sign_up(self) -> None:
        while not stopping.is_set():
            status, body = self.request("token", "GET", "/account/csrf")
            if status == 200:
                self.token = json.loads(body)["token"]
                form = {"email": f"{uuid.uuid4().hex}@example.com", "password": "correct horse battery"}
                if self.request("sign-up", "POST", "/register", form, accept="text/html")[0] in (302, 303):
                    self.token = json.loads(self.request("token", "GET", "/account/csrf")[1])["token"]
                    return
            time.sleep(1)

    def live(self) -> None:
        self.sign_up()
        threading.Thread(target=self.read).start()
        while not stopping.is_set():
            self.ask()
            stopping.wait(1)

    def read(self) -> None:
        """Look at pages meanwhile, as someone with a second window does."""
        while not stopping.wait(0.5):
            self.request("page", "GET", self.asked[-1]["url"] if self.asked else "/chat", accept="text/html")

    def ask(self) -> None:
        key = str(uuid.uuid4())
        form = {"text": f"count to {LENGTH} {key}", "client_key": key}
        while not stopping.is_set():  # as the page does: the same key until it is accepted
            status, body = self.request("ask", "POST", "/chat", form)
            if status == 201:
                answer = json.loads(body)
                found = dict(re.findall(r'data-(events|status)="([^"]+)"', answer["messages"]))
                asked = {"key": key, "url": answer["url"], "seen": []} | found
                self.asked.append(asked)
                if "events" in found:
                    self.follow(asked)
                return
            stopping.wait(1)

    def follow(self, asked: dict[str, Any]) -> None:
        """Follow to the end, however often the stream breaks; how many words were seen, and when."""
        last, words, deadline = 0, "", time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                response = self.open("GET", f"{asked['events']}?after={last}", accept="text/event-stream")
                if response.status == 200:
                    for kind, number, data in self.events(response):
                        if kind == "whole":
                            words, last = re.sub("<[^>]*>", " ", " ".join(data["items"])) + data["tail"], number
                        elif number is not None and number > last:
                            last = number
                            if kind == "text":
                                words = words + data["append"] if "append" in data else words + json.dumps(data)
                            else:
                                asked["end"] = kind
                        if found := re.findall(r"\bw(\d+)\b", words):
                            asked["seen"].append((time.time(), max(map(int, found))))
                        if "end" in asked:
                            return
            except (OSError, http.client.HTTPException, ValueError):
                pass
            self.request("page", "GET", asked["url"], accept="text/html")
            time.sleep(0.5)

    def events(self, response: Any) -> Any:
        buffer = b""
        while chunk := response.read1():
            buffer += chunk
            *frames, buffer = buffer.split(b"\n\n")
            for frame in frames:
                fields = dict(line.split(": ", 1) for line in frame.decode().split("\n") if not line.startswith(":"))
                if "event" in fields:
                    yield fields["event"], int(fields["id"]) if "id" in fields else None, json.loads(fields["data"])

    def audit(self) -> dict[str, int]:
        found = {"questions lost": 0, "answers lost": 0, "stuck runs": 0, "questions": len(self.asked)}
        for asked in self.asked:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                status, page = self.request("audit", "GET", asked["url"], accept="text/html")
                if status == 200 and "data-events=" not in page:
                    break
                time.sleep(1)
            found["questions lost"] += asked["key"] not in page
            found["stuck runs"] += "data-events=" in page
            kept = max(map(int, re.findall(r"\bw(\d+)\b", page)), default=0)
            until = asked["seen"][-1][0] - 1 if asked["seen"] else 0
            safe = max((words for at, words in asked["seen"] if at < until), default=0)
            if kept < safe:
                found["answers lost"] += 1
                note(what="lost", url=asked["url"], kept=kept, safe=safe, key=asked["key"])
        return found


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    people = [Person() for _ in range(PEOPLE)]
    threads = [threading.Thread(target=person.live) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    audits = [person.audit() for person in people]
    note(what="audit", **{name: sum(audit[name] for audit in audits) for name in audits[0]})


if __name__ == "__main__":
    main()
