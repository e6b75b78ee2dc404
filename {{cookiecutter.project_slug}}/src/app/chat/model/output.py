"""Sees every piece of model output before anything else does.

``ObservedModel`` wraps the chain of models for one run. It makes text storable,
separates reasoning from text, meters, limits, notices silence, and hands each piece to
the sink (the live run) at once. The agent graph needs less: it gets the first piece of
each part, and the whole parts at the end.

The seam uses names of Pydantic AI that are not quite public: ``_get_event_iterator``,
``_parts_manager``, ``_add_usage``. ``tests/test_model_seam.py`` says which version it
was tested with and fails when they change.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from pydantic_ai import RunContext
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    ModelResponsePart,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from app.chat.model import history
from app.chat.model.budget import Meter
from app.chat.model.call_ids import (
    PROVIDER_CALL_IDS,
    UniqueCallIds,
    arguments_as_text,
    canonical_arguments,
    with_provider_call_ids,
)
from app.chat.model.failures import (
    ENDED_EARLY,
    StreamCutError,
    TooManyToolCallsError,
    ending_word,
    is_context_exceeded,
    unpacked,
)
from app.chat.model.reasoning import Kind, Piece, ReasoningSplitter
from app.text import SurrogateJoiner, storable, storable_json

REQUEST_OVERHEAD = 500  # tokens of instructions and tools, sent with every request


class OutputSink(Protocol):
    """Receives a model's output, on the loop thread. A live run is one."""

    def begin_response(self) -> None: ...

    def add_text(self, text: str) -> None: ...

    def add_reasoning(self, text: str) -> None: ...

    def text_was_reasoning(self) -> None:
        """All text of the present response turned out to be reasoning."""


@dataclass(frozen=True)
class OutputLimits:
    """Limits on one response."""

    silence_seconds: float  # between two pieces
    tool_calls: int


@dataclass
class HTTPStream:
    """What is known of the HTTP response that a model's answer arrives in."""

    is_seen: bool = False
    is_marked_done: bool = False  # its last event is one that says so
    has_ended_early: bool = False  # its last event says that the answer is not complete


http_stream: ContextVar[HTTPStream | None] = ContextVar("http_stream", default=None)


class ObservedModel(WrapperModel):
    """A model whose output goes to *sink* piece by piece.

    *history_length* is the number of messages that are earlier turns, *correction* what
    estimates of tokens are to be multiplied by.
    """

    def __init__(
        self,
        wrapped: Model,
        sink: OutputSink,
        meter: Meter,
        limits: OutputLimits,
        history_length: int = 0,
        correction: float = 1.0,
    ):
        super().__init__(wrapped)
        self._sink = sink
        self._meter = meter
        self._limits = limits
        self._history_length = history_length
        self._correction = correction
        self._may_shorten = history_length > 0

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        messages = with_provider_call_ids(messages)
        stream = HTTPStream()
        http_stream.set(stream)
        ask = partial(
            self.wrapped.request_stream,
            model_settings=model_settings,
            model_request_parameters=model_request_parameters,
            run_context=run_context,
        )
        async with AsyncExitStack() as stack:
            try:
                estimated = self._begin_request(messages)
                response = await stack.enter_async_context(ask(messages))
            except Exception as error:
                self._meter.request_failed()
                shorter = self._shortened_after(error, messages)
                if shorter is None:
                    raise
                estimated = self._begin_request(shorter)
                response = await stack.enter_async_context(ask(shorter))
            count_running_totals_once(response)
            yield ObservedResponse(
                model_request_parameters=model_request_parameters,
                inner=response,
                sink=self._sink,
                meter=self._meter,
                limits=self._limits,
                estimated_input=estimated,
                http=stream,
            )

    def _begin_request(self, messages: Sequence[ModelMessage]) -> float:
        """Tell the meter of a request; return its estimated tokens, uncorrected."""
        estimated = history.tokens_of(messages) + REQUEST_OVERHEAD
        self._meter.begin_request(estimated * self._correction)
        return estimated

    def _shortened_after(
        self, error: Exception, messages: list[ModelMessage]
    ) -> list[ModelMessage] | None:
        """The request with less history, once, if that is what the provider wants."""
        is_too_long = any(is_context_exceeded(inner) for inner in unpacked(error))
        if not is_too_long or not self._may_shorten:
            return None
        self._may_shorten = False
        shorter = history.with_less_history(messages, self._history_length)
        self._history_length -= len(messages) - len(shorter)
        return shorter


@dataclass
class _TextSegment:
    """Text or reasoning that came in one part of the model's response."""

    part_index: int
    is_reasoning: bool
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass(kw_only=True)
class ObservedResponse(StreamedResponse):
    """A response that hands its pieces to the sink while it is iterated."""

    inner: StreamedResponse
    sink: OutputSink
    meter: Meter
    limits: OutputLimits
    estimated_input: float
    http: HTTPStream
    _splitter: ReasoningSplitter = field(default_factory=ReasoningSplitter, init=False)
    _joiners: dict[int, SurrogateJoiner] = field(default_factory=dict, init=False)
    _segments: list[_TextSegment] = field(default_factory=list, init=False)
    _tool_calls: int = field(default=0, init=False)
    _is_complete: bool = field(default=False, init=False)

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        self.sink.begin_response()
        events = aiter(self.inner)
        patience: float | None = None  # the wait for the first event has its own limit
        while True:
            async with asyncio.timeout(patience):
                event = await anext(events, None)
            if event is None:
                break
            patience = self.limits.silence_seconds
            for shown in await self._take(event):
                yield shown
        for shown in await self._finish():
            yield shown

    async def _take(
        self, event: ModelResponseStreamEvent
    ) -> list[ModelResponseStreamEvent]:
        """Take an event of the model; return what the agent graph is to see of it."""
        if isinstance(event, PartStartEvent):
            return await self._take_part(event.index, event.part)
        if isinstance(event, PartEndEvent):
            return await self._end_part(event.index, event.part)
        if not isinstance(event, PartDeltaEvent):
            return []
        delta = event.delta
        if isinstance(delta, TextPartDelta):
            return await self._take_text(event.index, delta.content_delta)
        if isinstance(delta, ThinkingPartDelta):
            return await self._take_reasoning(event.index, delta.content_delta or "")
        if isinstance(delta, ToolCallPartDelta):
            await self.meter.count(arguments_as_text(delta.args_delta))
        return []

    async def _take_part(
        self, index: int, part: ModelResponsePart
    ) -> list[ModelResponseStreamEvent]:
        if isinstance(part, TextPart):
            return await self._take_text(index, part.content)
        if isinstance(part, ThinkingPart):
            return await self._take_reasoning(index, part.content)
        if isinstance(part, ToolCallPart):
            self._tool_calls += 1
            if self._tool_calls > self.limits.tool_calls:
                raise TooManyToolCallsError
            await self.meter.count(arguments_as_text(part.args))
        return []

    async def _end_part(
        self, index: int, part: ModelResponsePart
    ) -> list[ModelResponseStreamEvent]:
        """Take what was held back for the other half of a surrogate pair."""
        rest = self._joiner(index).finish()
        if isinstance(part, ThinkingPart):
            return await self._hand_over(index, [Piece(Kind.REASONING, rest)])
        return await self._hand_over(index, self._splitter.feed(rest))

    async def _take_text(self, index: int, text: str) -> list[ModelResponseStreamEvent]:
        storable_text = self._joiner(index).feed(text)
        pieces = self._splitter.feed(storable_text)
        return await self._hand_over(index, pieces)

    async def _take_reasoning(
        self, index: int, text: str
    ) -> list[ModelResponseStreamEvent]:
        storable_text = self._joiner(index).feed(text)
        piece = Piece(Kind.REASONING, storable_text)
        return await self._hand_over(index, [piece])

    def _joiner(self, index: int) -> SurrogateJoiner:
        return self._joiners.setdefault(index, SurrogateJoiner())

    async def _hand_over(
        self, index: int, pieces: Sequence[Piece]
    ) -> list[ModelResponseStreamEvent]:
        """Give pieces to the sink, as far as the answer may grow, and keep them."""
        shown: list[ModelResponseStreamEvent] = []
        for piece in pieces:
            if piece.kind is Kind.TEXT_WAS_REASONING:
                self.sink.text_was_reasoning()
                for segment in self._segments:
                    segment.is_reasoning = True
                continue
            text = self.meter.room_for(piece.text)
            if text:
                is_reasoning = piece.kind is Kind.REASONING
                if is_reasoning:
                    self.sink.add_reasoning(text)
                else:
                    self.sink.add_text(text)
                shown.extend(self._keep(index, is_reasoning, text))
            await self.meter.count(piece.text)
        return shown

    def _keep(
        self, index: int, is_reasoning: bool, text: str
    ) -> Iterator[ModelResponseStreamEvent]:
        """Keep a piece for the whole parts; the first of a part is shown to the
        graph.
        """
        if self._segments:
            last = self._segments[-1]
            if last.part_index == index and last.is_reasoning == is_reasoning:
                last.pieces.append(text)
                return
        segment = _TextSegment(index, is_reasoning, [text])
        self._segments.append(segment)
        key = len(self._segments)
        parts = self._parts_manager
        if is_reasoning:
            yield from parts.handle_thinking_delta(vendor_part_id=key, content=text)
        else:
            yield from parts.handle_text_delta(vendor_part_id=key, content=text)

    async def _finish(self) -> list[ModelResponseStreamEvent]:
        """The model has sent everything.

        Raises:
            StreamCutError: when the response only seems to have ended.
            TokenLimitError: when the answer has used all tokens that it may.
        """
        last_index = self._segments[-1].part_index if self._segments else 0
        shown = await self._hand_over(last_index, self._splitter.finish())
        response = self.inner.get()
        self._check_not_cut(response)
        self.meter.end_request(response.usage)
        self._is_complete = True
        for part in self.get().parts:
            if isinstance(part, ToolCallPart):
                event = self._parts_manager.handle_part(vendor_part_id=None, part=part)
                shown.append(event)
        return shown

    def _check_not_cut(self, response: ModelResponse) -> None:
        if not self._segments and not self._tool_calls:
            return  # nothing came: the agent asks once more
        if self.http.is_marked_done or not self.http.is_seen:
            return
        is_refusal = response.finish_reason == "content_filter"
        has_ended = bool(ending_word(response)) or is_refusal
        if not has_ended or response.state == "incomplete":
            raise StreamCutError

    def get(self) -> ModelResponse:
        response = self.inner.get()
        call_ids = UniqueCallIds()
        parts: list[ModelResponsePart] = []
        for index, part in enumerate(response.parts):
            if isinstance(part, TextPart):
                parts.extend(self._text_parts(index, part))
            elif isinstance(part, ThinkingPart):
                parts.append(replace(part, content=storable(part.content)))
            elif isinstance(part, ToolCallPart):
                parts.append(call_ids.apply(_normalised_call(part)))
            else:
                parts.append(part)
        metadata = dict(response.metadata or {})
        metadata[history.ESTIMATED_INPUT] = round(self.estimated_input)
        if self.http.has_ended_early:
            metadata[ENDED_EARLY] = True
        if call_ids.provider_ids:
            metadata[PROVIDER_CALL_IDS] = call_ids.provider_ids
        state = response.state if self._is_complete else "incomplete"
        details: Any = storable_json(response.provider_details)
        return replace(
            response,
            parts=parts,
            metadata=metadata,
            state=state,
            provider_details=details,
        )

    def _text_parts(self, index: int, part: TextPart) -> Iterator[ModelResponsePart]:
        for segment in self._segments:
            if segment.part_index != index:
                continue
            if segment.is_reasoning:
                yield ThinkingPart(segment.text)
            elif segment.text == part.content:
                yield part
            else:  # citations count characters of the original text
                yield replace(part, content=segment.text, citations=None)

    @property
    def usage(self) -> RequestUsage:
        return self.inner.usage

    @property
    def model_name(self) -> str:
        return self.inner.model_name

    @property
    def provider_name(self) -> str | None:
        return self.inner.provider_name

    @property
    def provider_url(self) -> str | None:
        return self.inner.provider_url

    @property
    def timestamp(self) -> datetime:
        return self.inner.timestamp

    async def close_stream(self) -> None:
        await self.inner.close_stream()


def _normalised_call(part: ToolCallPart) -> ToolCallPart:
    """A call whose name and arguments are storable; what is shown is what runs."""
    name = storable(part.tool_name)
    arguments = canonical_arguments(part.args)
    return replace(part, tool_name=name, args=arguments)


def count_running_totals_once(response: StreamedResponse) -> None:
    """Let each report of usage replace the one before.

    In the protocols of OpenAI a report is the total so far. Servers send it once, twice
    or with every chunk; Pydantic AI adds the reports up. A report of zero tokens is
    none.
    """
    add_usage = weakref.WeakMethod(
        response._add_usage
    )  # else the response keeps itself

    def replace_usage(
        usage: RequestUsage, *, reported: bool, cumulative: bool = False
    ) -> None:
        has_tokens = bool(usage.input_tokens or usage.output_tokens)
        add = add_usage()
        if add and (has_tokens or not reported):
            add(usage, reported=reported, cumulative=cumulative or reported)

    response._add_usage = replace_usage  # type: ignore[method-assign]
