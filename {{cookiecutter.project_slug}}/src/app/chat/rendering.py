"""Answers as HTML: the same numbered items while an answer grows and when it is stored.

An answer is a sequence of items (a closed Markdown block or a tool step each) and an
open tail, which the page shows as plain text until it closes. Text before and after a
tool step is rendered separately.
"""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self, cast
from uuid import UUID

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from app.chat.models import CUT_SHORT, Failure, Message, Run, StepStatus, ToolCall
from app.database import new_id, now
from app.security.markdown import render_markdown, split_blocks
from app.text import clean_text, identifier, storable, with_visible_escapes

PARSE_SHARE = 0.05  # of the time may go into parsing a growing block
LONG_TEXT = 4_000  # characters; longer texts are rendered in a thread of their own
# Of texts whose HTML is kept; together they take a few times as many bytes.
CACHED_CHARACTERS = 2_000_000
LONGEST_RESULT = 20_000  # characters of a tool's result that are stored for people

FAILURE_NOTES: dict[str, str] = {
    Failure.TIMEOUT: "The model took too long to answer.",
    Failure.CONNECTION: "The connection to the model broke.",
    Failure.BUSY: "The model is overloaded. Please try again in a moment.",
    Failure.UNAVAILABLE: (
        "The model is not available. Please contact the site administrator."
    ),
    Failure.UNCONFIGURED: (
        "The assistant is not configured. Please contact the site administrator."
    ),
    Failure.REFUSED: "The model declined to answer.",
    Failure.LIMIT: "The answer needed more steps than are allowed.",
    Failure.TOKENS: "The answer reached the token limit for one answer.",
    Failure.LENGTH: "The answer was cut off because it grew too long.",
    Failure.CUT_OFF: "The answer was cut off before it was complete.",
    Failure.INCOMPLETE: "The answer may be incomplete.",
    Failure.CONTEXT: (
        "This conversation is too long for the model."
        " Please start a new one or shorten your question."
    ),
    Failure.BUDGET: "Your budget for today is spent; it is renewed at midnight UTC.",
    Failure.EMPTY: "The model ended without an answer.",
    Failure.TOOL: "A tool failed.",
    Failure.APPROVAL: (
        "The call no longer matches what was approved, so nothing was run."
    ),
    Failure.MODEL: "The model sent something that cannot be understood.",
    Failure.SAVE: "The answer could not be saved completely.",
}


class Argument(NamedTuple):
    """An argument of a tool call as people read it."""

    name: str
    text: str


class AnswerPieces(Protocol):
    """The macros of ``chat/_answer.html``."""

    def step(
        self, call: ToolCall, arguments: Sequence[Argument], result: str
    ) -> Markup: ...

    def approval(
        self, call: ToolCall, arguments: Sequence[Argument], csrf_token: str
    ) -> Markup: ...

    def ending(self, run: Run, note: str, may_continue: bool) -> Markup: ...


_templates = Environment(loader=PackageLoader("app"), autoescape=True)
_pieces = cast("AnswerPieces", _templates.get_template("chat/_answer.html").module)


class RenderedAnswer(NamedTuple):
    """Closed items and the open tail of an answer."""

    items: list[Markup]
    tail: str


class AnswerEvent(NamedTuple):
    """What an event of a growing answer says: its kind and its JSON data."""

    kind: str
    data: dict[str, object]


def arguments_of(call: ToolCall) -> list[Argument]:
    """The arguments of a call, exactly as they run: hidden characters are visible."""
    try:
        values = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        return [Argument("arguments", with_visible_escapes(call.arguments))]
    arguments = []
    for name, value in values.items():
        text = with_visible_escapes(_as_text(value))
        arguments.append(Argument(with_visible_escapes(name), text))
    return arguments


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def render_step(call: ToolCall) -> Markup:
    """A tool step: what was called with which arguments, and the result."""
    return _pieces.step(call, arguments_of(call), clean_text(call.result or ""))


def render_footer(
    run: Run, undecided: Sequence[ToolCall] = (), csrf_token: str = ""
) -> Markup:
    """What stands below an answer that has ended or waits for decisions."""
    questions = [
        _pieces.approval(call, arguments_of(call), csrf_token) for call in undecided
    ]
    note = FAILURE_NOTES.get(run.error or "", "")
    ending = _pieces.ending(run, note, run.error in CUT_SHORT)
    return Markup("").join([*questions, ending])


class _RenderedTexts:
    """Remembers the HTML of closed texts, the least recently used are forgotten.

    Rendering depends on the text alone, so the HTML may be shown to anyone who has the
    same text. Request threads and the loop thread share it.
    """

    def __init__(self, render: Callable[[str], tuple[Markup, ...]]) -> None:
        self._render = render
        self._html: OrderedDict[str, tuple[Markup, ...]] = OrderedDict()
        self._characters = 0
        self._lock = threading.Lock()

    def get(self, text: str) -> tuple[Markup, ...]:
        with self._lock:
            if text in self._html:
                self._html.move_to_end(text)
                return self._html[text]
        html = self._render(text)
        with self._lock:
            if text not in self._html:
                self._html[text] = html
                self._characters += len(text)
            while self._characters > CACHED_CHARACTERS:
                forgotten, _ = self._html.popitem(last=False)
                self._characters -= len(forgotten)
        return html


def _render_closed(text: str) -> tuple[Markup, ...]:
    blocks, tail = split_blocks(text + "\n")
    if tail.strip(" \t\n"):
        blocks.append(render_markdown(tail[:-1]))
    return tuple(blocks)


# The items of a text that is complete.
closed_items = _RenderedTexts(_render_closed).get


def render_saved(message: Message, active: bool) -> RenderedAnswer:
    """A stored answer; while its run is active the end of its text stays open."""
    return _rendered(message.text, message.tool_calls, active)


def _rendered(text: str, steps: Sequence[ToolCall], active: bool) -> RenderedAnswer:
    items: list[Markup] = []
    begin = 0
    for step in steps:
        items += closed_items(text[begin : step.position])
        items.append(render_step(step))
        begin = step.position
    last_text = text[begin:]
    if not active:
        items += closed_items(last_text)
        return RenderedAnswer(items, "")
    blocks, tail = split_blocks(last_text.lstrip("\n"))
    return RenderedAnswer([*items, *blocks], tail)


@dataclass
class _Step:
    """A tool step of a growing answer and the number of its item."""

    item: int
    call: ToolCall


@dataclass
class GrowingAnswer:
    """The answer of a live run. Only the loop thread touches it.

    ``text`` is what has been published; more may wait in the buffer.
    """

    answer_id: UUID
    text: str = ""
    reasoning: list[str] = field(default_factory=list)
    response: int = 0  # number of the model response that is arriving
    _buffer: list[str] = field(default_factory=list)
    _tail: str = ""
    _item_count: int = 0
    _steps: list[_Step] = field(default_factory=list)
    # By our id of the call, of the present response only.
    _steps_of_response: dict[str, _Step] = field(default_factory=dict)
    _response_begin: int = 0  # in ``text``
    _needs_break: bool = False  # before the next text, between two responses
    _changed_items: list[tuple[int, Markup]] = field(default_factory=list)
    _unsaved_steps: dict[UUID, ToolCall] = field(default_factory=dict)
    _replaced: bool = False  # what pages show is to be replaced as a whole
    _parse_at: float = 0
    _unparsed: bool = False
    _is_parsing: bool = False  # in the thread for long texts

    @classmethod
    def resumed(cls, message: Message) -> Self:
        """The answer as it was saved when its run began to wait for an approval."""
        answer = cls(message.id, message.text)
        begin = 0
        for call in message.tool_calls:
            items_before = closed_items(message.text[begin : call.position])
            answer._item_count += len(items_before)
            answer._add_step(call)
            answer.response = max(answer.response, call.response)
            begin = call.position
        last_items = closed_items(message.text[begin:])
        answer._item_count += len(last_items)
        return answer

    @property
    def undecided(self) -> list[ToolCall]:
        """The steps that wait for an approval."""
        calls = [step.call for step in self._steps]
        return [call for call in calls if call.status == StepStatus.WAITING]

    @property
    def is_only_reasoning(self) -> bool:
        """Whether the model has reasoned and then said and done nothing."""
        text = self.text + self.open_text
        has_output = bool(text.strip() or self._steps)
        return bool(self.reasoning) and not has_output

    @property
    def has_news(self) -> bool:
        """Whether there is something to publish."""
        return bool(self._buffer or self._changed_items or self._replaced)

    @property
    def open_text(self) -> str:
        """The text that ``finish`` or the next step will close."""
        return self._tail + clean_text("".join(self._buffer))

    def begin_response(self) -> None:
        """The model begins another response."""
        self._take_buffer()
        self.response += 1
        self._steps_of_response = {}
        self._response_begin = len(self.text)
        self._needs_break = bool(self._tail)

    def add_text(self, text: str) -> None:
        """Take more of the answer's text."""
        if self._needs_break:
            self._buffer.append("\n\n")
            self._needs_break = False
        self._buffer.append(text)

    def add_reasoning(self, text: str) -> None:
        """Take more of the model's reasoning, which is not part of the text."""
        self.reasoning.append(clean_text(text))

    def text_was_reasoning(self) -> None:
        """Make the text of the present response reasoning, also where it is shown."""
        self._take_buffer()
        self.reasoning.append(self.text[self._response_begin :])
        self.text = self.text[: self._response_begin]
        self._tail = ""
        self._changed_items.clear()
        self._needs_break = False
        self._replaced = True

    def resume_step(self, own_id: str, step_id: UUID) -> None:
        """Name a step that waited for a decision by our id of its call."""
        for step in self._steps:
            if step.call.id == step_id:
                self._steps_of_response[own_id] = step

    def begin_step(
        self, own_id: str, provider_id: str, name: str, arguments: str
    ) -> None:
        """Show a tool step; the text before it is closed.

        A step that waited for a decision begins again.
        """
        if own_id in self._steps_of_response:
            self.set_step(own_id, StepStatus.RUNNING)
            return
        self._close_tail()
        self._needs_break = False
        if self.text:
            self.text = self.text.rstrip("\n") + "\n\n"
        call = ToolCall(
            id=new_id(),
            message_id=self.answer_id,
            response=self.response,
            call_id=provider_id,
            name=identifier(name),
            arguments=arguments,
            status=StepStatus.RUNNING,
            started_at=now(),
            position=len(self.text),
        )
        step = self._add_step(call)
        self._steps_of_response[own_id] = step
        self._step_changed(step)

    def _add_step(self, call: ToolCall) -> _Step:
        step = _Step(self._item_count, call)
        self._steps.append(step)
        self._item_count += 1
        return step

    def set_step(
        self, own_id: str, status: StepStatus, result: str | None = None
    ) -> None:
        """Show the state of a step of the present response and its result."""
        step = self._steps_of_response[own_id]
        call = step.call
        call.status = status
        if result is not None:
            call.result = storable(result[:LONGEST_RESULT])
            call.finished_at = now()
        self._step_changed(step)

    def close_steps(self) -> None:
        """The run has ended: steps that did not finish never will."""
        for step in self._steps:
            call = step.call
            if call.finished_at is None:
                call.status = StepStatus.UNFINISHED
                call.finished_at = now()
                self._step_changed(step)

    def take_unsaved_steps(self) -> list[ToolCall]:
        """Copies of the steps that changed since the last call, to be saved."""
        steps = list(self._unsaved_steps.values())
        self._unsaved_steps = {}
        return steps

    def save_steps_again(self, steps: Sequence[ToolCall]) -> None:
        """Count steps as changed that could not be saved; newer changes win."""
        self._unsaved_steps = {step.id: step for step in steps} | self._unsaved_steps

    def publish(self) -> AnswerEvent | None:
        """What has changed since the last call; None if nothing has."""
        if self._replaced:
            return self._whole(active=True)
        piece = self._take_buffer()
        self._parse()
        if changes := self._take_changes():
            return changes
        return AnswerEvent("text", {"append": piece}) if piece else None

    def finish(self) -> AnswerEvent | None:
        """The same once no more text will come: everything is closed."""
        if self._replaced:
            return self._whole(active=False)
        self._close_tail()
        return self._take_changes()

    def begin_long_parse(self) -> str | None:
        """The open text, if it is due for parsing and too long to parse on the loop."""
        is_due = self._unparsed and time.perf_counter() >= self._parse_at
        if self._is_parsing or not is_due or len(self._tail) <= LONG_TEXT:
            return None
        self._unparsed = False
        self._is_parsing = True
        return self._tail

    def end_long_parse(
        self, text: str, blocks: Sequence[Markup], rest: str, seconds: float
    ) -> None:
        """Take what parsing *text* elsewhere gave, unless it was closed meanwhile."""
        self._is_parsing = False
        self._parse_at = time.perf_counter() + seconds / PARSE_SHARE
        if self._tail.startswith(text):
            self._tail = rest + self._tail[len(text) :]
            self._close_items(blocks)

    def _take_buffer(self) -> str:
        piece = clean_text("".join(self._buffer))
        self._buffer.clear()
        self.text += piece
        self._tail += piece
        self._unparsed |= "\n" in piece
        return piece

    def _parse(self) -> None:
        """Close finished blocks of the tail, within the share of time for parsing."""
        started = time.perf_counter()
        if not self._unparsed or started < self._parse_at:
            return
        if self._is_parsing or len(self._tail) > LONG_TEXT:
            return
        self._unparsed = False
        blocks, self._tail = split_blocks(self._tail)
        self._close_items(blocks)
        finished = time.perf_counter()
        self._parse_at = finished + (finished - started) / PARSE_SHARE

    def _close_tail(self) -> None:
        self._take_buffer()
        self._close_items(closed_items(self._tail))
        self._tail = ""

    def _close_items(self, items: Sequence[Markup]) -> None:
        self._changed_items += enumerate(items, self._item_count)
        self._item_count += len(items)

    def _step_changed(self, step: _Step) -> None:
        call = step.call
        self._changed_items.append((step.item, render_step(call)))
        names = ToolCall.__table__.columns.keys()
        values = {name: getattr(call, name) for name in names}
        self._unsaved_steps[call.id] = ToolCall(**values)

    def _whole(self, active: bool) -> AnswerEvent:
        self._replaced = False
        self._take_buffer()
        self._changed_items.clear()
        steps = [step.call for step in self._steps]
        items, tail = _rendered(self.text, steps, active)
        self._item_count = len(items)
        self._tail = tail
        return AnswerEvent("whole", {"items": items, "tail": tail})

    def _take_changes(self) -> AnswerEvent | None:
        if not self._changed_items:
            return None
        changes = self._changed_items
        self._changed_items = []
        return AnswerEvent("text", {"set": changes, "tail": self._tail})
