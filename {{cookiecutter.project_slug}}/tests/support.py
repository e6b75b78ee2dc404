"""People, event streams and a scripted model for the tests."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import queue
import re
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn, TypeVar

import pytest
from flask import Flask
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from sqlalchemy import select
from werkzeug.test import TestResponse

from app import jobs
from app.accounts.models import User, UserSession
from app.chat.models import Message, Run
from app.database import db, new_id, transaction

MakeApp = Callable[..., Flask]
T = TypeVar("T")
PASSWORD = "correct horse battery"
FETCH = {"Accept": "application/json"}
PAGE = {"Accept": "text/html,application/xhtml+xml"}


def missing(part: str) -> NoReturn:
    """A machine may lack *part*, which names what brings it: its tests are skipped, but in CI nothing is."""
    if os.environ.get("CI"):
        pytest.fail(part)
    pytest.skip(part)


def wait_until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """The first true value of *condition*; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} seconds: {condition}")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* in a thread of its own: the main thread may have an event loop of another test."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


class ScriptedModel:
    """Says what a test tells it to, when it is told; a question without a script waits for one."""

    END = object()

    def __init__(self) -> None:
        self.model = FunctionModel(stream_function=self._answer, model_name="scripted")
        self.asked: list[list[ModelMessage]] = []
        self._script: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.cancelled = 0

    def say(self, *pieces: str) -> None:
        for piece in pieces:
            self._script.put(piece)

    def call(self, tool: str, **arguments: object) -> None:
        self.call_all((tool, arguments))

    def call_all(self, *calls: tuple[str, dict[str, object]]) -> None:
        self._script.put({i: DeltaToolCall(tool, json.dumps(given)) for i, (tool, given) in enumerate(calls)})
        self.finish()

    def fail(self, error: Exception) -> None:
        self._script.put(error)

    def finish(self) -> None:
        self._script.put(self.END)

    def answer(self, *pieces: str) -> None:
        self.say(*pieces)
        self.finish()

    async def _answer(self, messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
        self.asked.append(messages)
        try:
            while True:
                try:
                    piece = self._script.get_nowait()
                except queue.Empty:
                    await asyncio.sleep(0.005)
                    continue
                if piece is self.END:
                    return
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    number: int | None
    kind: str
    data: dict[str, Any]


def parse_events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """Events as the chunks of a response bring them; comments are passed over."""
    buffer = b""
    for chunk in chunks:
        buffer += chunk
        *frames, buffer = buffer.split(b"\n\n")
        for frame in frames:
            fields = dict(line.split(": ", 1) for line in frame.decode().split("\n") if not line.startswith(":"))
            if "event" in fields:
                number = int(fields["id"]) if "id" in fields else None
                yield Event(number, fields["event"], json.loads(fields["data"]))


class Page:
    """What the page's script makes of events: numbered items and a tail."""

    def __init__(self) -> None:
        self.items: dict[int, str] = {}
        self.tail = ""
        self.last = 0
        self.ending: Event | None = None

    def take(self, event: Event) -> bool:
        """Apply an event as ``stream.js`` does; False when something before it is missing."""
        if event.kind == "whole":
            self.items, self.tail = dict(enumerate(event.data["items"])), event.data["tail"]
            self.last = event.number or 0
            return True
        if event.number is None or event.number <= self.last:
            return True
        if event.number > self.last + 1:
            return False
        self.last = event.number
        if event.kind == "text":
            self.items |= dict(event.data.get("set", []))
            self.tail = event.data["tail"] if "tail" in event.data else self.tail + event.data["append"]
        else:
            self.ending = event
        return True

    @property
    def html(self) -> str:
        return "".join(self.items[number] for number in sorted(self.items))

    @property
    def words(self) -> list[str]:
        return (re.sub(r"<[^>]*>", "", self.html) + self.tail).split()


class Visitor:
    """Someone with a browser."""

    def __init__(self, app: Flask):
        self.app = app
        self.client = app.test_client()
        self.user_id: uuid.UUID | None = None

    @classmethod
    def signed_in(cls, app: Flask, email: str) -> Visitor:
        """Signed in by a session row of their own, without the cost of a password."""
        visitor = cls(app)
        visitor.user_id = new_id()
        with app.app_context(), transaction() as session:
            session.add(User(id=visitor.user_id, email=email, password="-", fs_uniquifier=secrets.token_hex(16)))
        return visitor.sign_in_as(visitor)

    def sign_in_as(self, other: Visitor) -> Visitor:
        """Signed in on another device."""
        token = secrets.token_urlsafe(16)
        with self.app.app_context(), transaction() as session:
            row = UserSession(token_hash=hashlib.sha256(token.encode()).hexdigest(), user_id=other.user_id)
            session.add(row)
        self.user_id = other.user_id
        with self.client.session_transaction() as cookie:
            cookie.update({"_user_id": token, "fs_paa": time.time()})
        return self

    @classmethod
    def of(cls, app: Flask, other: Visitor) -> Visitor:
        """The same person at another process."""
        visitor = cls(app)
        visitor.user_id, app.secret_key = other.user_id, other.app.secret_key
        with other.client.session_transaction() as cookie, visitor.client.session_transaction() as own:
            own.update(cookie)
        return visitor

    def get(self, url: str, headers: dict[str, str] = PAGE) -> TestResponse:
        return self.client.get(url, headers=headers, buffered=True)

    def post(self, url: str, headers: dict[str, str] = FETCH, **form: str) -> TestResponse:
        csrf = self.client.get("/account/csrf", headers=FETCH).json["token"]
        return self.client.post(url, data=form, headers=headers | {"X-CSRFToken": csrf})

    def ask(self, text: str = "Hello?", conversation: str = "/chat", key: str | None = None) -> Asked:
        url = conversation if conversation == "/chat" else f"{conversation}/messages"
        response = self.post(url, text=text, client_key=key or str(uuid.uuid4()))
        assert response.status_code == 201, response.text
        return Asked(self, response)

    def read(self, url: str, **headers: str) -> list[Event]:
        """A stream to its end."""
        response = self.client.get(url, headers={"Accept": "text/event-stream"} | headers)
        assert response.status_code == 200, response.text
        return list(parse_events(response.iter_encoded()))

    def rows(self, query: Any) -> list[Any]:
        with self.app.app_context():
            return list(db.session.scalars(query))


class Asked:
    """A question that has been posted, and the addresses of its answer."""

    def __init__(self, visitor: Visitor, response: TestResponse):
        self.visitor = visitor
        self.conversation = response.json["url"]
        self.html = response.json["messages"]
        found = dict(re.findall(r'data-(events|status|stop|regenerate)="([^"]+)"', self.html))
        self.events, self.status, self.stop = found.get("events"), found.get("status"), found.get("stop")
        self.regenerate = found["regenerate"]
        self.answer_id = uuid.UUID(self.regenerate.split("/")[2])

    def page(self) -> Page:
        """What the page shows when the stream has ended."""
        page = Page()
        for event in self.visitor.read(self.events):
            assert page.take(event)
        return page


def sign_up(visitor: Visitor, email: str = "ada@example.com", password: str = PASSWORD) -> Any:
    return visitor.post("/register", PAGE, email=email, password=password)


def sign_in(visitor: Visitor, email: str = "ada@example.com", password: str = PASSWORD, query: str = "") -> Any:
    return visitor.post(f"/login{query}", PAGE, email=email, password=password)


def is_in(visitor: Visitor) -> bool:
    return visitor.get("/chat").status_code == 200


def work_off(app: Flask, moment: datetime | None = None) -> None:
    """Do the jobs that wait, as a worker would; with a *moment*, those due by then too."""
    with app.app_context():
        queue = jobs.queue()
        for call in queue.read_schedule(moment) if moment else ():
            call.eta = None
            queue.enqueue(call)
        while call := queue.dequeue():
            queue.execute(call)


def the_run(app: Flask) -> Run:
    with app.app_context():
        return db.session.scalars(select(Run).order_by(Run.id.desc())).first()


def the_answer(app: Flask) -> Message:
    with app.app_context():
        return db.session.scalars(
            select(Message).where(Message.role == "assistant").order_by(Message.id.desc())
        ).first()
