"""People, verdicts and the table for the tests of odd provider output."""

from __future__ import annotations

import html
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

import pytest
from fake_provider import (
    Body,
    FakeProvider,
    Responder,
    Step,
    question_of,
    say,
    wait,
)
from flask import Flask
from pydantic_ai import models
from shapes import CHAT, Script
from sqlalchemy import select
from sqlalchemy import text as sql
from support import Asked, MakeApp, Page, Visitor, wait_until

from app.chat.agent import agent
from app.chat.models import Conversation, Message, Run, RunStatus
from app.database import db, new_id, transaction

KEY = "sk-key-0123456789-never-logged"
QUESTION = "What does the odd provider say?"
LATER = "And now?"
GOES_ON = "On we go."
NEIGHBOUR_QUESTION = "What does the neighbour ask?"
NEIGHBOUR_ANSWER = "Half of an answer, and the rest of it."
EARLIER = ("The earlier question?", "The earlier answer.")
WORDS = "ordinary words and a few more "
DIGITS = "TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24"
MOST_SECONDS = 30  # for an odd answer to end
PROMPT_SECONDS = 10  # for the end of an ordinary answer to be saved and shown
COLUMNS = ("page", "stored row", "next question", "neighbour")
Result = TypeVar("Result")
# Pydantic AI warns of odd output. The collector may find a stream of a provider in this
# thread while the loop thread still closes it.
CALM = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore:Failed to extract usage"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProvider]:
    """A provider on the loopback that all protocols reach."""
    provider = FakeProvider()
    monkeypatch.setattr(models, "ALLOW_MODEL_REQUESTS", True)
    for name in ("OPENAI", "ANTHROPIC"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{provider.url}/v1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", provider.url)
    yield provider
    provider.close()


@contextmanager
def a_tool(name: str, returned: Any, **options: Any) -> Iterator[list[Any]]:
    """A tool that returns *returned*; yields the arguments of its calls."""
    calls: list[Any] = []

    def tool(value: Any = None) -> Any:
        calls.append(value)
        return returned() if callable(returned) else returned

    tool.__doc__ = "Something odd."
    agent.tool_plain(tool, name=name, **options)
    try:
        yield calls
    finally:
        for toolset in agent.toolsets:
            toolset.tools.pop(name, None)


def print_table(request: pytest.FixtureRequest, rows: Sequence[Sequence[str]]) -> None:
    """Print *rows* in columns of equal width, whatever is captured."""
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    manager = request.config.pluginmanager.getplugin("capturemanager")
    with manager.global_and_fixture_disabled():
        text = "\n".join(["", *lines, ""])
        request.config.get_terminal_writer().write(text)


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[Sequence[str]]]:
    """Rows that are printed once all tests of a module have run."""
    rows: list[Sequence[str]] = []
    yield rows
    header = ("kind", "shape", "engine", *COLUMNS)
    print_table(request, [header, *rows] if rows else [])


class Verdict:
    """What came of one shape: each column is judged, also after another failed."""

    def __init__(self, table: list[Sequence[str]], *names: str) -> None:
        self._table = table
        self._names = names
        self._cells = dict.fromkeys(COLUMNS, "-")
        self._errors: list[Exception] = []

    @contextmanager
    def on(self, column: str) -> Iterator[None]:
        try:
            yield
        except Exception as problem:
            problem.add_note(f"in the column {column!r}")
            self._errors.append(problem)
            self._cells[column] = "FAILED"
        else:
            if self._cells[column] == "-":
                self._cells[column] = "ok"

    def close(self) -> None:
        self._table.append([*self._names, *self._cells.values()])
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            raise ExceptionGroup(" / ".join(self._names), self._errors)


@contextmanager
def verdict(table: list[Sequence[str]], *names: str) -> Iterator[Verdict]:
    """A row of *table* that begins with *names*."""
    judged = Verdict(table, *names)
    with judged.on("page"):  # what fails between the columns
        yield judged
    judged.close()


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """The result of *work*; fails when it takes longer."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as problem:
            errors.append(problem)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    assert results, f"not within {seconds} seconds"
    return results[0]


class Scripts:
    """Answers each question with scripts of its own, whoever asks at the same time."""

    def __init__(self) -> None:
        self._scripts: dict[str, deque[Script]] = {}
        self.fallback: Responder | None = None  # for questions without a script
        self.requests: dict[str, list[Body]] = {}

    def add(self, question: str, *rounds: Script) -> None:
        """Scripts for the requests of *question*; the last is for all that follow."""
        self._scripts[question] = deque(rounds)

    def __call__(self, body: Body) -> Sequence[Step] | None:
        question = question_of(body)
        self.requests.setdefault(question, []).append(body)
        rounds = self._scripts.get(question)
        if rounds is None:
            return self.fallback(body) if self.fallback else None
        return rounds.popleft() if len(rounds) > 1 else rounds[0]


class Scene:
    """Ada, who meets the odd provider, and Bob, who uses the same process."""

    def __init__(self, app: Flask, provider: FakeProvider) -> None:
        self.app = app
        self.provider = provider
        self.scripts = Scripts()
        provider.responder = self.scripts
        self.ada = Visitor.signed_in(app, "ada@example.com")
        self.bob = Visitor.signed_in(app, "bob@example.com")
        self._go_on = threading.Event()
        self._neighbour: Asked | None = None
        half, rest = NEIGHBOUR_ANSWER.split(", ")
        script = (say(half + ", "), wait(self._go_on), say(rest))
        self.scripts.add(NEIGHBOUR_QUESTION, script)
        self.scripts.add(LATER, (say(GOES_ON),))

    def begin_neighbour(self) -> None:
        """Bob's answer begins; it is halfway while Ada's goes wrong."""
        self._neighbour = self.bob.ask(NEIGHBOUR_QUESTION)
        wait_until(lambda: NEIGHBOUR_QUESTION in self.scripts.requests)

    def end_neighbour(self) -> None:
        """Bob's answer ends: at once, complete and saved."""
        assert self._neighbour is not None
        self._go_on.set()
        began = time.monotonic()
        page = within(2 * MOST_SECONDS, self._neighbour.page)
        seconds = time.monotonic() - began
        run = self.run_of(self._neighbour)
        assert (page.ending.kind, run.status, run.error) == ("done", "done", None)
        assert seen_on(page) == squeezed(NEIGHBOUR_ANSWER)
        stored = self.answer_of(self._neighbour).text
        assert squeezed(stored) == squeezed(NEIGHBOUR_ANSWER)
        shown = visible(last_answer(self.bob, self._neighbour.conversation))
        assert squeezed(NEIGHBOUR_ANSWER) in shown
        assert seconds < PROMPT_SECONDS

    def ask(self, question: str = QUESTION, conversation: str = "/chat") -> Asked:
        return self.ada.ask(question, conversation)

    def answer_of(self, asked: Asked) -> Message:
        return self._row(Message, Message.id, asked.answer_id)

    def run_of(self, asked: Asked) -> Run:
        return self._row(Run, Run.answer_id, asked.answer_id)

    def _row(self, model: Any, column: Any, value: UUID) -> Any:
        """A row as it is now, with all its columns."""
        with self.app.app_context():
            row = db.session.scalars(select(model).where(column == value)).one()
            columns_of(row)  # loads those that are deferred
            db.session.expunge(row)
            return row

    def later_request(self) -> Body:
        """What the provider was asked with the next question."""
        return self.scripts.requests[LATER][-1]


def make_scene(make_app: MakeApp, provider: FakeProvider, **changes: Any) -> Scene:
    """An application whose model is the fake provider, and its two users."""
    settings: dict[str, Any] = {"model": CHAT, "first_token_seconds": 60}
    settings |= {"between_tokens_seconds": 60}
    settings |= {"run_timeout_seconds": 120, "model_retries": 0}
    app = make_app(**(settings | changes))
    del app.extensions["model"]
    return Scene(app, provider)


def store_turns(scene: Scene, turns: Sequence[tuple[str, str]], title: str = "Before") -> str:
    """A conversation of Ada's with these questions and answers; returns its URL."""
    conversation = Conversation(id=new_id(), user_id=scene.ada.user_id, title=title)
    owner = {"conversation_id": conversation.id, "user_id": scene.ada.user_id}
    with scene.app.app_context(), transaction() as session:
        session.add(conversation)
        session.flush()
        for question, answer in turns:
            for role, text in (("user", question), ("assistant", answer)):
                message = Message(id=new_id(), role=role, text=text, **owner)
                message.parent_id = conversation.head_id
                session.add(message)
                session.flush()
                conversation.head_id = message.id
            run = Run(answer_id=message.id, worker="gone/1/x", **owner)
            run.status = RunStatus.DONE
            session.add(run)
    return f"/chat/{conversation.id}"


def execute(app: Flask, *statements: str, **values: Any) -> None:
    """Change the database behind the application's back."""
    with app.app_context(), transaction() as session:
        for statement in statements:
            session.execute(sql(statement), values)


def long_text(length: int, words: str = WORDS) -> str:
    """*words* again and again, up to so many characters."""
    return (words * (length // len(words) + 1))[:length]


def squeezed(text: str) -> str:
    """*text* without whitespace, to compare what is shown with what was written."""
    return "".join(text.split())


def visible(markup: str) -> str:
    """The text of HTML without whitespace."""
    return squeezed(html.unescape(re.sub(r"<[^>]*>", "", markup)))


def seen_on(page: Page) -> str:
    """The text of an answer that arrived as a stream, without whitespace."""
    return visible(page.html + html.escape(page.tail))


def last_answer(visitor: Visitor, conversation: str) -> str:
    """The newest answer of a conversation's page, as HTML."""
    response = visitor.get(conversation)
    assert response.status_code == 200
    articles = re.findall(r'<article class="message answer".*?</article>', response.text, re.DOTALL)
    return str(articles[-1])


def strings_in(value: object) -> Iterator[str]:
    """Every text inside a value of JSON, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield str(name)
            yield from strings_in(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from strings_in(item)


def assert_storable(value: object) -> None:
    """Fail if a database or a JSON reader would refuse a text inside *value*."""
    for text in strings_in(value):
        assert not re.search("[\x00\ud800-\udfff]", text), ascii(text[:200])


def columns_of(row: Any) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in row.__table__.columns}
