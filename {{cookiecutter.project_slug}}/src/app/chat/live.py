"""A run this process works on. Only the loop thread touches it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from app.chat import event_log
from app.chat.answer import GrowingAnswer, render_footer
from app.chat.models import Run, RunStatus, ToolCall
from app.chat.saving import Snapshot
from app.database import now

if TYPE_CHECKING:
    from pydantic_ai import AgentRunResult

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
    result: AgentRunResult[str] | None = None
    first_token_at: datetime | None = None
    saved_number: int = -1
    saved_at: float = 0
    failed_saves: int = 0

    @property
    def running(self) -> bool:
        return self.status == RunStatus.RUNNING

    def handler(self, publish: Callable[[LiveRun], Awaitable[None]]) -> Any:
        """An event handler for ``Agent.run`` that feeds the answer and publishes its first words at once."""
        from pydantic_ai import messages as m

        async def handle(context: Any, events: AsyncIterable[Any]) -> None:
            async for event in events:
                if isinstance(event, m.PartDeltaEvent):
                    if isinstance(event.delta, m.TextPartDelta):
                        self.answer.feed(event.delta.content_delta)
                elif isinstance(event, m.PartStartEvent):
                    if isinstance(event.part, m.TextPart):
                        self.answer.begin_part(event.part.content)
                elif isinstance(event, m.FunctionToolCallEvent):
                    self.answer.begin_step(self._step(event.part))
                elif isinstance(event, m.FunctionToolResultEvent):
                    succeeded = isinstance(event.part, m.ToolReturnPart) and event.part.outcome == "success"
                    self.answer.end_step(event.part.tool_call_id, str(event.part.content), succeeded)
                if self.first_token_at is None and self.answer.waiting:
                    self.first_token_at = now()
                    await publish(self)

        return handle

    def _step(self, call: Any) -> ToolCall:
        arguments = call.args_as_json_str()
        return ToolCall(message_id=self.answer_id, call_id=call.tool_call_id, name=call.tool_name, arguments=arguments)

    def next_event(self) -> tuple[UUID, bytes] | None:
        """What has changed since the last event, for the log; once the run is over, all that is left."""
        data = self.answer.publish() if self.running else self.answer.finish()
        return self._event("text", data) if data else None

    def terminal_event(self, run: Run) -> tuple[UUID, bytes]:
        """The event that ends every stream."""
        return self._event(run.status, {"footer": render_footer(run)})

    def _event(self, kind: str, data: dict[str, Any]) -> tuple[UUID, bytes]:
        self.number += 1
        return self.id, event_log.frame(self.number, kind, data)

    def snapshot(self) -> Snapshot | None:
        """What there is to save; None if nothing is new."""
        if self.running and self.number == self.saved_number and time.monotonic() < self.saved_at + HEARTBEAT_EVERY:
            return None
        self.saved_number, self.saved_at = self.number, time.monotonic()
        outcome = {"status": self.status, "error": self.error, "first_token_at": self.first_token_at}
        return Snapshot(
            self.id,
            self.conversation_id,
            self.answer_id,
            self.answer.text,
            self.number,
            self.answer.changed_steps(),
            None if self.running else outcome,
            self.result,
        )

    def not_saved(self, snapshot: Snapshot) -> None:
        """What *snapshot* held is still to be saved."""
        self.saved_number = -1
        self.failed_saves += 1
        self.answer.save_again(snapshot.steps)
