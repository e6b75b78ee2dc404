"""How an answer looks while it grows and when it is stored: the same items, with the same numbers.

An answer is a sequence of items, a closed Markdown block or a tool step each, and an open tail, which is shown as
plain text until it closes. Text before and after a tool step is rendered apart.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self, cast

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from app.chat import failures
from app.chat.models import Message, Run, ToolCall
from app.database import new_id, now
from app.security.markdown import clean_text, render_markdown, split_blocks

PARSE_SHARE = 0.05  # of the time may go into parsing a growing block, however long it gets

_pieces: Any = Environment(loader=PackageLoader("app"), autoescape=True).get_template("chat/_answer.html").module


def _given(call: ToolCall) -> list[tuple[str, str]]:
    """The arguments of a call as people read them; a model may also have written something else than an object."""
    try:
        values = dict(json.loads(call.arguments or "{}"))
    except (TypeError, ValueError):
        values = {"arguments": call.arguments}
    texts = ((name, value if isinstance(value, str) else json.dumps(value)) for name, value in values.items())
    return [(clean_text(name), clean_text(text)) for name, text in texts]


def render_step(call: ToolCall) -> Markup:
    """A tool step: what was called with what, and what came of it."""
    return cast("Markup", _pieces.step(call, _given(call), clean_text(call.result or "")))


def render_footer(run: Run, undecided: Sequence[ToolCall] = (), token: str = "") -> Markup:
    """What is said below an answer that has ended or waits: how it stands, what is to be decided, what it cost."""
    questions = (_pieces.approval(call, _given(call), token) for call in undecided)
    return Markup("").join((*questions, _pieces.ending(run, failures.note(run.error))))


@lru_cache(maxsize=1000)
def _closed(segment: str) -> tuple[Markup, ...]:
    # Rendering depends on nothing but the text, so it may be remembered for whoever shows the same text again.
    blocks, tail = split_blocks(segment + "\n")
    return (*blocks, *([render_markdown(tail[:-1])] if tail.strip(" \t\n") else []))


def render_saved(message: Message, active: bool) -> tuple[list[Markup], str]:
    """The items of a stored answer and, while its run is active, the open tail."""
    items: list[Markup] = []
    begin = 0
    for call in message.tool_calls:
        items += [*_closed(message.text[begin : call.position]), render_step(call)]
        begin = call.position
    if not active:
        return [*items, *_closed(message.text[begin:])], ""
    blocks, tail = split_blocks(message.text[begin:].lstrip("\n"))
    return [*items, *blocks], tail


@dataclass
class GrowingAnswer:
    """The answer of a live run. ``text`` is what has been published; more may wait in the buffer."""

    text: str = ""
    _buffer: list[str] = field(default_factory=list)
    _tail: str = ""
    _items: int = 0
    _steps: dict[str, tuple[int, ToolCall]] = field(default_factory=dict)
    _changes: list[tuple[int, Markup]] = field(default_factory=list)
    _unsaved: dict[str, ToolCall] = field(default_factory=dict)
    _parse_at: float = 0
    _unparsed: bool = False

    @classmethod
    def resumed(cls, message: Message) -> Self:
        """The answer as it was saved when its run began to wait for an approval."""
        answer, begin = cls(message.text), 0
        for call in message.tool_calls:
            answer._items += len(_closed(message.text[begin : call.position]))
            answer._steps[call.call_id] = answer._items, call
            answer._items += 1
            begin = call.position
        answer._items += len(_closed(message.text[begin:]))
        return answer

    @property
    def undecided(self) -> list[ToolCall]:
        """The steps that wait for an approval."""
        return [call for _, call in self._steps.values() if call.status == "waiting"]

    @property
    def waiting(self) -> bool:
        """Whether there is something to publish."""
        return bool(self._buffer or self._changes)

    def feed(self, text: str) -> None:
        """Take more of the text."""
        self._buffer.append(text)

    def begin_part(self, text: str) -> None:
        """Take the first text of another part, which does not run on from what is there."""
        if self._buffer or self._tail:
            self._buffer.append("\n\n")
        self._buffer.append(text)

    def begin_step(self, call: ToolCall) -> None:
        """Show a tool step; the text before it is closed. One that was waiting begins once more."""
        if call.call_id in self._steps:
            self.set_step(call.call_id, "running")
            return
        self._take()
        self._close(_closed(self._tail))
        self._tail = ""
        if self.text:
            self.text = self.text.rstrip("\n") + "\n\n"
        call.id, call.status, call.started_at, call.position = new_id(), "running", now(), len(self.text)
        self._steps[call.call_id] = self._items, call
        self._items += 1
        self._show(call.call_id)

    def set_step(self, call_id: str, status: str, result: str | None = None) -> None:
        """Show how a tool step stands, and what came of it once it has ended."""
        call = self._steps[call_id][1]
        call.status, call.result, call.finished_at = status, result, now() if result is not None else None
        self._show(call_id)

    def changed_steps(self) -> list[ToolCall]:
        """Copies of the steps that changed since the last call, for saving in another thread."""
        steps, self._unsaved = list(self._unsaved.values()), {}
        return steps

    def save_again(self, steps: Sequence[ToolCall]) -> None:
        """Count steps as changed that could not be saved, unless they have changed once more."""
        self._unsaved = {step.call_id: step for step in steps} | self._unsaved

    def publish(self) -> dict[str, Any] | None:
        """What has changed since the last call, as the data of a ``text`` event; None if nothing has."""
        piece = self._take()
        started = time.perf_counter()
        self._unparsed |= "\n" in piece  # which stays true over a pause of the model
        if self._unparsed and started >= self._parse_at:
            self._unparsed = False
            blocks, self._tail = split_blocks(self._tail)
            self._close(blocks)
            finished = time.perf_counter()
            self._parse_at = finished + (finished - started) / PARSE_SHARE
        return self._changed() or ({"append": piece} if piece else None)

    def finish(self) -> dict[str, Any] | None:
        """The same once no more text will come: everything is closed."""
        self._take()
        self._close(_closed(self._tail))
        self._tail = ""
        return self._changed()

    def _take(self) -> str:
        piece = clean_text("".join(self._buffer))
        self._buffer.clear()
        self.text += piece
        self._tail += piece
        return piece

    def _close(self, blocks: Sequence[Markup]) -> None:
        self._changes += enumerate(blocks, self._items)
        self._items += len(blocks)

    def _show(self, call_id: str) -> None:
        item, call = self._steps[call_id]
        self._changes.append((item, render_step(call)))
        columns = {column.key: getattr(call, column.key) for column in ToolCall.__table__.columns}
        self._unsaved[call_id] = ToolCall(**columns)

    def _changed(self) -> dict[str, Any] | None:
        changes, self._changes = self._changes, []
        return {"set": changes, "tail": self._tail} if changes else None
