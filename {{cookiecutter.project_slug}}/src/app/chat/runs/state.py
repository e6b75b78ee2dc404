"""The states of a run and of its tool steps: one function for each transition.

    start -> RUNNING -> DONE, STOPPED, ERROR or INTERRUPTED
             RUNNING -> WAITING (for decisions) -> RUNNING or STOPPED

Callers hold a lock on the row of the run and commit.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import orm, update

from app.chat.models import (
    Approval,
    Conversation,
    Failure,
    Message,
    Run,
    RunStatus,
    StepStatus,
    ToolCall,
)
from app.database import database_clock, now
from app.observability import metrics, tracing


@dataclass(frozen=True)
class Outcome:
    """How the work on a run ended: a final status, or WAITING."""

    status: RunStatus
    failure: Failure | None
    first_token_at: datetime | None


def start(conversation: Conversation, answer: Message, worker: str) -> Run:
    """A new run that *worker* works on; it belongs to the trace of this request."""
    trace_id, span_id = tracing.current_ids()
    return Run(
        conversation_id=conversation.id,
        user_id=conversation.user_id,
        answer_id=answer.id,
        worker=worker,
        trace_id=trace_id,
        span_id=span_id,
    )


def request_stop(run: Run) -> None:
    """Ask the process that works on a running run to stop it."""
    run.stop_requested = True


def stop_waiting(session: orm.Session, run: Run) -> None:
    """WAITING -> STOPPED: the calls that wait are denied."""
    run.status = RunStatus.STOPPED
    run.finished_at = now()
    session.execute(
        update(ToolCall)
        .where(ToolCall.message_id == run.answer_id, ToolCall.finished_at.is_(None))
        .values(status=StepStatus.DENIED, finished_at=now())
    )
    count_ended(run)


def interrupt(session: orm.Session, run: Run) -> None:
    """RUNNING -> INTERRUPTED: the process that worked on it has ended."""
    run.status = RunStatus.INTERRUPTED
    run.finished_at = now()
    close_steps(session, run.answer_id)
    count_ended(run)


def resume(run: Run, worker: str) -> None:
    """WAITING -> RUNNING: every call is decided, and *worker* goes on."""
    run.status = RunStatus.RUNNING
    run.worker = worker
    run.heartbeat_at = database_clock()


def decide(
    session: orm.Session, call: ToolCall, is_approved: bool, reason: str, user_id: UUID
) -> None:
    """A step that waits becomes APPROVED or DENIED."""
    call.status = StepStatus.APPROVED if is_approved else StepStatus.DENIED
    session.add(
        Approval(
            tool_call_id=call.id,
            approved=is_approved,
            reason=reason or None,
            decided_by=user_id,
            requested_at=call.started_at,
            decided_at=now(),
        )
    )


def close_steps(session: orm.Session, answer_id: UUID) -> None:
    """Steps of an ended run that did not finish never will."""
    session.execute(
        update(ToolCall)
        .where(ToolCall.message_id == answer_id, ToolCall.finished_at.is_(None))
        .values(status=StepStatus.UNFINISHED, finished_at=now())
    )


def count_ended(run: Run) -> None:
    """Count a run that has ended, or begins to wait, in the metrics."""
    metrics.add("app.runs", outcome=run.status, error=run.error or "")
