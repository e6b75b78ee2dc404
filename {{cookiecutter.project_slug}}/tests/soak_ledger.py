"""The ledger of a soak: what was asked, and whether page and database agree with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from outside import assert_storable, columns_of, squeezed, visible
from shapes import CONTINUED, DONE, NOTES, Shape
from sqlalchemy import orm

from app.chat.models import Message, Run, ToolCall

ENDED_STEPS = {"done", "failed", "denied", "unfinished"}


@dataclass
class Entry:
    """One accepted question, and what its asker saw of the answer."""

    number: int
    shape: Shape
    text: str
    client_key: str
    conversation: str = ""
    answer_id: UUID | None = None
    ending: str = ""  # the kind of the event that ended the stream
    footer: str = ""
    shown: str = ""  # the text of the answer as it arrived, without whitespace
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"answer {self.number} ({self.shape.model}, {self.shape.name})"


class Problems(list[str]):
    """What is wrong, a line each; each check is made, also after another failed."""

    @contextmanager
    def of(self, entry: Entry, subject: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            said = str(error).strip() or repr(error)
            self.append(f"{entry}, {subject}: {ascii(said)[1:600]}")


def articles_of(page: str) -> dict[UUID, str]:
    """The answers on a conversation's page by the ids of their messages."""
    pattern = r'<article class="message answer" id="m([\w-]+)".*?</article>'
    found = re.finditer(pattern, page, re.DOTALL)
    return {UUID(match[1]): match[0] for match in found}


def check_page(entry: Entry, page: str, problems: Problems) -> None:
    """The page has the question, the answer, its note, and nothing still at work."""
    with problems.of(entry, "page"):
        assert squeezed(entry.text) in visible(page), "the question is missing"
        assert entry.answer_id is not None
        article = articles_of(page)[entry.answer_id]
        assert "data-events=" not in article, "it is still being written"
        assert "aria-busy" not in article, "it is still busy"
        assert "Using" not in re.findall(r"<summary>\s*(\w+)", article), "Using"
        check_shown(entry.shape, visible(article))
    with problems.of(entry, "stream"):
        check_shown(entry.shape, entry.shown)


def check_shown(shape: Shape, text: str) -> None:
    shown = shape.text if shape.shown is None else shape.shown
    assert squeezed(shown or "") in text, f"{shown!r} is not in {text[-300:]!r}"
    for hidden in shape.hidden:
        assert squeezed(hidden) not in text, f"{hidden!r} is shown"


def check_note(entry: Entry, article: str, run: Run) -> None:
    """The note below the answer is the one of the word in its row."""
    note = NOTES[run.error] if run.error else ""
    assert squeezed(note) in visible(article), f"no note on the page for {run.error}"
    assert note in entry.footer, f"no note at the end of the stream for {run.error}"
    other_notes = [other for other in NOTES.values() if other != note]
    shown = [other for other in other_notes if squeezed(other) in visible(article)]
    assert not shown, f"other notes: {shown}"
    assert ("data-continue" in article) == (run.error in CONTINUED), "Continue"


def check_database(
    database_url: str,
    entries: Sequence[Entry],
    pages: Mapping[str, str],
    problems: Problems,
) -> dict[UUID, Run]:
    """Compare all rows with the ledger; returns the runs by ids of their answers."""
    url = re.sub("^postgresql:", "postgresql+psycopg:", database_url)
    engine = sa.create_engine(url)
    with orm.Session(engine) as session:
        runs = {run.answer_id: run for run in session.scalars(sa.select(Run))}
        stored = session.scalar(sa.select(sa.func.count()).select_from(Message))
        if (len(runs), stored) != (len(entries), 2 * len(entries)):
            problems.append(f"{len(entries)} questions, {len(runs)} runs, {stored} messages")
        for entry in entries:
            with problems.of(entry, "rows"):
                assert entry.answer_id is not None
                run = runs[entry.answer_id]
                check_rows(session, entry, run)
                article = articles_of(pages[entry.conversation])[entry.answer_id]
                check_note(entry, article, run)
            session.expunge_all()
    engine.dispose()
    return runs


def check_rows(session: orm.Session, entry: Entry, run: Run) -> None:
    shape = entry.shape
    key = Message.client_key == entry.client_key
    asked = session.scalars(sa.select(Message).where(key)).one()
    assert asked.text == entry.text, "the question is another"
    assert run.error in shape.errors, f"{run.error!r} instead of {shape.errors}"
    assert run.status == ("done" if run.error in DONE else "error") or (
        run.status == "error" and run.error == "length"
    ), f"{run.status} with {run.error}"
    assert entry.ending == run.status, f"{entry.ending} shown, {run.status} stored"
    assert run.finished_at is not None, "without an end"
    if shape.tokens is not None:
        tokens = (run.input_tokens, run.output_tokens)
        assert tokens == shape.tokens, f"tokens {tokens} instead of {shape.tokens}"
    answer = session.scalars(sa.select(Message).where(Message.id == run.answer_id)).one()
    assert answer.parent_id == asked.id, "the answer of another question"
    check_answer(shape, answer)
    steps = session.scalars(sa.select(ToolCall).where(ToolCall.message_id == answer.id).order_by(ToolCall.id)).all()
    check_steps(shape, steps)
    for row in (run, *steps):
        assert_storable(columns_of(row))


def check_answer(shape: Shape, answer: Message) -> None:
    if shape.text is not None:
        text = answer.text.strip()
        assert text == shape.text, f"{text[-200:]!r} instead of {shape.text[-200:]!r}"
    reasoning = (answer.reasoning or "").strip()
    if shape.reasoning is None:
        assert not reasoning, f"reasoning {reasoning[:200]!r}"
    else:
        assert shape.reasoning in reasoning, f"the reasoning is {reasoning[:200]!r}"
    assert_storable(columns_of(answer))
    assert_storable(json.loads(answer.model_messages or "[]"))


def check_steps(shape: Shape, steps: Sequence[ToolCall]) -> None:
    found = [(step.name, step.status) for step in steps]
    if shape.calls is not None:
        assert found == list(shape.calls), f"steps {found}"
    unfinished = {step.status for step in steps} - ENDED_STEPS
    assert not unfinished, f"steps that are {unfinished}"
