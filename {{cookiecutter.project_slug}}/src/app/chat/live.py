"""A run this process works on, and what it tells about itself: one span from the question to the saved answer, and its
metrics. Only the loop thread touches it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from opentelemetry import trace

from app.chat import event_log
from app.chat.answer import GrowingAnswer, render_footer
from app.chat.history import Snapshot
from app.chat.models import Run, RunStatus, ToolCall
from app.chat.usage import Meter
from app.database import now
from app.observability import metrics, tracing

if TYPE_CHECKING:
    import pydantic_ai as ai

WRITING = ("part_start", "part_delta", "part_end", "final_result")  # events of a model, unlike those of tools
TOOL_OUTCOMES = {"success": "ok", "denied": "denied"}  # of Pydantic AI; the others are failures
HEARTBEAT_EVERY = 5.0  # seconds, for a run that has nothing else to save


@dataclass(eq=False)
class LiveRun:
    """From the start of a run to its terminal event."""

    id: UUID
    conversation_id: UUID
    answer_id: UUID
    answer: GrowingAnswer = field(default_factory=GrowingAnswer)
    number: int = 0  # of the last event published
    status: RunStatus = RunStatus.RUNNING
    error: str | None = None
    cancelled_as: RunStatus = RunStatus.INTERRUPTED
    task: asyncio.Task[None] | None = None
    result: ai.AgentRunResult[Any] | None = None
    meter: Meter | None = None
    before: Sequence[ai.ModelMessage] = ()  # what this run exchanged before it waited for an approval
    first_token_at: datetime | None = None
    saved_number: int = -1
    saved_at: float = 0
    failed_saves: int = 0
    began: float = field(default_factory=time.monotonic)
    span: trace.Span = trace.INVALID_SPAN

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin *work*, inside of a span, which belongs to the trace of the request that asked."""
        attributes = {"run.id": str(self.id), "conversation.id": str(self.conversation_id)}
        self.span = tracing.tracer.start_span("run", attributes=attributes)
        with trace.use_span(self.span, end_on_exit=False):
            self.task = asyncio.create_task(work)

    @property
    def running(self) -> bool:
        return self.status == RunStatus.RUNNING

    def handler(self, meter: Meter, patience: float, publish: Callable[[LiveRun], Awaitable[None]]) -> Any:
        """An event handler for ``Agent.run`` that feeds the answer and publishes its first words at once.

        It raises TimeoutError after *patience* seconds of silence, and what *meter* raises.
        """
        from pydantic_ai import messages as m

        async def handle(context: Any, events: AsyncIterable[Any]) -> None:
            async with asyncio.timeout(None) as limit:  # by the clock of loops, which is the monotonic one
                async for event in events:
                    if characters := _length(event):
                        await meter.take(characters, context.usage)
                    match event:
                        case m.PartDeltaEvent(delta=m.TextPartDelta() as delta):
                            self.answer.feed(delta.content_delta)
                        case m.PartStartEvent(part=m.TextPart() as part):
                            self.answer.begin_part(part.content)
                        case m.FunctionToolCallEvent():
                            self.answer.begin_step(self._step(event.part))
                        case m.FunctionToolResultEvent(part=part):
                            outcome = part.outcome if isinstance(part, m.ToolReturnPart) else "failed"
                            status = {"success": "done"}.get(outcome, outcome)
                            self.answer.set_step(part.tool_call_id, status, str(part.content))
                            _count_tool_call(part.tool_name or "", outcome)
                        case m.DeferredToolRequestsEvent():
                            for call in event.requests.approvals:
                                self.answer.set_step(call.tool_call_id, "waiting")
                    if self.first_token_at is None and self.answer.waiting:
                        self.first_token_at = now()
                        metrics.record("app.run.first_token", time.monotonic() - self.began)
                        await publish(self)
                    limit.reschedule(time.monotonic() + patience if event.event_kind in WRITING else None)

        return handle

    def _step(self, call: Any) -> ToolCall:
        arguments = call.args_as_json_str()
        return ToolCall(message_id=self.answer_id, call_id=call.tool_call_id, name=call.tool_name, arguments=arguments)

    def next_event(self) -> event_log.Event | None:
        """What has changed since the last event, for the log; once the run is over, all that is left."""
        data = self.answer.publish() if self.running else self.answer.finish()
        return self._event("text", data) if data else None

    def terminal_event(self, run: Run) -> event_log.Event:
        """The event that ends every stream."""
        return self._event(run.status, {"footer": render_footer(run, self.answer.undecided)})

    def _event(self, kind: str, data: dict[str, Any]) -> event_log.Event:
        self.number += 1
        return self.id, self.number, event_log.frame(self.number, kind, data)

    def snapshot(self) -> Snapshot | None:
        """What there is to save; None if nothing is new."""
        if self.running and self.number == self.saved_number and time.monotonic() < self.saved_at + HEARTBEAT_EVERY:
            return None
        self.saved_number, self.saved_at = self.number, time.monotonic()
        ended = {"status": self.status, "error": self.error, "first_token_at": self.first_token_at}
        written = self.answer.text, self.number, self.answer.changed_steps(), None if self.running else ended
        messages = [*self.before, *(self.result.new_messages() if self.result else ())]
        return Snapshot(self.id, self.conversation_id, self.answer_id, *written, messages, self.meter)

    def not_saved(self, snapshot: Snapshot) -> None:
        """What *snapshot* held is still to be saved."""
        self.saved_number = -1
        self.failed_saves += 1
        self.answer.save_again(snapshot.steps)

    def failed(self, error: Exception) -> None:
        """Count an exception of a run; the span of whatever raised it has recorded it."""
        tracing.record(error)
        if self.error == "model":
            metrics.add("app.errors", type=type(error).__name__, where="run")

    def finished(self, run: Run, saving_since: int) -> None:
        """Close the span of a run that has been saved, since *saving_since* (nanoseconds), and count it."""
        context = trace.set_span_in_context(self.span)
        tracing.tracer.start_span("save answer", context=context, start_time=saving_since).end()
        seconds = time.monotonic() - self.began
        if run.status == RunStatus.ERROR:
            self.span.set_status(trace.Status(trace.StatusCode.ERROR))
            if self.first_token_at is None:
                metrics.record("app.run.first_token", seconds)  # whoever waits in vain has waited, too
        self.span.set_attributes({"run.outcome": run.status, "run.error": run.error or ""})
        self.span.end()
        count(run)
        if run.status == RunStatus.WAITING:
            return  # the rest is counted when it has gone on and ended
        metrics.record("app.run.duration", seconds, outcome=run.status)
        model = run.model or "unknown"
        metrics.add("app.tokens", run.input_tokens or 0, model=model, direction="input")
        metrics.add("app.tokens", run.output_tokens or 0, model=model, direction="output")
        metrics.add("app.cost.usd", float(run.cost or 0), model=model)


def count(run: Run) -> None:
    metrics.add("app.runs", outcome=run.status, error=run.error or "")


def _count_tool_call(name: str, outcome: str) -> None:
    from app.chat.tools import TOOLS

    known = {getattr(tool, "name", "") or getattr(tool, "__name__", "") for tool in TOOLS}  # a model may invent names
    labels = {"tool": name if name in known else "unknown", "outcome": TOOL_OUTCOMES.get(outcome, "failed")}
    metrics.add("app.tool_calls", 1, **labels)


def _length(event: Any) -> int:
    """How many characters of text, thoughts or tool arguments an event of the model brings."""
    piece = getattr(event, "delta", None) or (event.part if event.event_kind == "part_start" else None)
    names = ("content", "content_delta", "args", "args_delta")
    return sum(len(value) for name in names if isinstance(value := getattr(piece, name, None), str))
