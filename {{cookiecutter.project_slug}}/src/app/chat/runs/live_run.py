"""A run that this process works on, from its start to its terminal event.

It receives the model's output, knows what is to be published and saved, and is one span
and the metrics of the run. Only the loop thread touches it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from opentelemetry import trace

from app.chat.models import Failure, Run, RunStatus, StepStatus
from app.chat.rendering import AnswerEvent, GrowingAnswer, render_footer
from app.chat.runs import state
from app.chat.runs.saving import Snapshot
from app.chat.streams import event_log
from app.database import now
from app.observability import metrics, tracing

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage

    from app.chat.model.budget import Meter


async def _render_at_once(answer: GrowingAnswer) -> None:
    """Leave rendering to whoever closes the text, on the loop."""


@dataclass(eq=False)
class LiveRun:
    """See above. ``on_news`` is called when there is something to publish at last, and
    ``before_closing`` renders a long text elsewhere before it is closed."""

    id: UUID
    conversation_id: UUID
    answer: GrowingAnswer
    number: int = 0  # of the last event published
    first_token_at: datetime | None = None
    on_news: Callable[[], None] = lambda: None
    before_closing: Callable[[GrowingAnswer], Awaitable[None]] = _render_at_once
    status: RunStatus = RunStatus.RUNNING
    failure: Failure | None = None
    task: asyncio.Task[None] | None = None
    meter: Meter | None = None
    messages: list[ModelMessage] = field(default_factory=list)  # exchanged so far
    failed_saves: int = 0
    saved_run: Run | None = None  # its row, once its end has been saved
    _status_when_cancelled: RunStatus = RunStatus.INTERRUPTED
    _failure_when_cancelled: Failure | None = None
    _saved_number: int = -1
    _saved_reasoning: int = 0  # pieces
    _began: float = field(default_factory=time.monotonic)
    _span: trace.Span = trace.INVALID_SPAN

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Begin *work* inside a span that belongs to the trace of the request."""
        attributes = {
            "run.id": str(self.id),
            "conversation.id": str(self.conversation_id),
        }
        self._span = tracing.tracer.start_span("run", attributes=attributes)
        with trace.use_span(self._span, end_on_exit=False):
            self.task = asyncio.create_task(work)

    @property
    def running(self) -> bool:
        return self.status == RunStatus.RUNNING

    # What the model's output does to the answer.

    def begin_response(self) -> None:
        self.answer.begin_response()

    def add_text(self, text: str) -> None:
        self.answer.add_text(text)
        self._has_news()

    def add_reasoning(self, text: str) -> None:
        self.answer.add_reasoning(text)

    def text_was_reasoning(self) -> None:
        self.answer.text_was_reasoning()

    def resume_step(self, own_id: str, step_id: UUID) -> None:
        self.answer.resume_step(own_id, step_id)

    async def begin_step(
        self, own_id: str, provider_id: str, name: str, arguments: str
    ) -> None:
        await self.before_closing(self.answer)
        self.answer.begin_step(own_id, provider_id, name, arguments)
        self._has_news()

    def end_step(self, own_id: str, status: StepStatus, result: str) -> None:
        self.answer.set_step(own_id, status, result)

    def await_approval(self, own_id: str) -> None:
        self.answer.set_step(own_id, StepStatus.WAITING)

    def _has_news(self) -> None:
        if self.first_token_at:
            return
        self.first_token_at = now()
        seconds = time.monotonic() - self._began
        metrics.record("app.run.first_token", seconds)
        self.on_news()

    # How the work ends.

    def end(self, failure: Failure | None, is_fatal: bool) -> None:
        """The agent has finished: with an answer, or with calls to decide on."""
        self.failure = failure
        if self.answer.undecided:
            self.status = RunStatus.WAITING
            return
        self.status = RunStatus.ERROR if is_fatal else RunStatus.DONE
        self.answer.close_steps()

    def fail(self, failure: Failure, error: Exception) -> None:
        """The agent has raised *error*; the span of what raised it has recorded it."""
        self.failure = failure
        self.status = RunStatus.ERROR
        self.answer.close_steps()
        tracing.record(error)
        if failure in (Failure.MODEL, Failure.TOOL):
            name = type(error).__name__
            metrics.add("app.errors", type=name, where="run")

    def cancel(self, status: RunStatus, failure: Failure | None = None) -> None:
        """End the work from outside; what has been written stays."""
        if self.task and self.running:
            self._status_when_cancelled = status
            self._failure_when_cancelled = failure
            self.task.cancel()

    def was_cancelled(self) -> None:
        """The work has been cancelled."""
        self.status = self._status_when_cancelled
        self.failure = self._failure_when_cancelled
        self.answer.close_steps()

    # What is published and saved.

    def next_event(self) -> event_log.Event | None:
        """What has changed since the last event; once the run is over, all the rest."""
        take_change = self.answer.publish if self.running else self.answer.finish
        change = take_change()
        if change is None:
            return None
        return self._event(change)

    def terminal_event(self, run: Run) -> event_log.Event:
        """The event that ends every stream."""
        footer = render_footer(run, self.answer.undecided)
        ending = AnswerEvent(run.status, {"footer": footer})
        return self._event(ending)

    def _event(self, event: AnswerEvent) -> event_log.Event:
        self.number += 1
        data = event_log.frame(self.number, event.kind, event.data)
        return event_log.Event(self.id, self.number, data)

    def snapshot(self) -> Snapshot | None:
        """What there is to save; None if nothing is new."""
        if self.saved_run:
            return None
        if self.running and self.number == self._saved_number:
            return None
        self._saved_number = self.number
        answer = self.answer
        reasoning = None
        if len(answer.reasoning) != self._saved_reasoning:
            self._saved_reasoning = len(answer.reasoning)
            reasoning = "".join(answer.reasoning)
        outcome = None
        if not self.running:
            outcome = state.Outcome(self.status, self.failure, self.first_token_at)
        return Snapshot(
            run_id=self.id,
            conversation_id=self.conversation_id,
            answer_id=answer.answer_id,
            text=answer.text,
            reasoning=reasoning,
            number=self.number,
            steps=answer.take_unsaved_steps(),
            outcome=outcome,
            messages=self.messages,
            meter=self.meter,
        )

    def not_saved(self, snapshot: Snapshot) -> None:
        """What *snapshot* held is still to be saved."""
        self._saved_number = -1
        self._saved_reasoning = -1
        self.failed_saves += 1
        self.answer.save_steps_again(snapshot.steps)

    def finished(self, run: Run, saving_since: int) -> None:
        """Close the span of a run that was saved since *saving_since* (nanoseconds)."""
        context = trace.set_span_in_context(self._span)
        save_span = tracing.tracer.start_span(
            "save answer", context=context, start_time=saving_since
        )
        save_span.end()
        seconds = time.monotonic() - self._began
        if run.status == RunStatus.ERROR:
            self._span.set_status(trace.Status(trace.StatusCode.ERROR))
            if self.first_token_at is None:  # people have waited for it all the same
                metrics.record("app.run.first_token", seconds)
        self._span.set_attribute("run.outcome", run.status)
        self._span.set_attribute("run.error", run.error or "")
        self._span.end()
        state.count_ended(run)
        if run.status != RunStatus.WAITING:  # the rest is counted at its end
            _count_costs(run, seconds)


def _count_costs(run: Run, seconds: float) -> None:
    model = run.model or "unknown"
    input_tokens = run.input_tokens or 0
    output_tokens = run.output_tokens or 0
    cost = float(run.cost or 0)
    metrics.record("app.run.duration", seconds, outcome=run.status)
    metrics.add("app.tokens", input_tokens, model=model, direction="input")
    metrics.add("app.tokens", output_tokens, model=model, direction="output")
    metrics.add("app.cost.usd", cost, model=model)
