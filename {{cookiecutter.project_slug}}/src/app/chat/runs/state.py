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
    _end(session, run, RunStatus.STOPPED, StepStatus.DENIED)


def interrupt(session: orm.Session, run: Run) -> None:
    """RUNNING -> INTERRUPTED: the process that worked on it has ended.

    Steps that did not finish never will.
    """
    _end(session, run, RunStatus.INTERRUPTED, StepStatus.UNFINISHED)


def _end(
    session: orm.Session, run: Run, status: RunStatus, open_steps_become: StepStatus
) -> None:
    run.status = status
    run.finished_at = now()
    open_steps = update(ToolCall).where(ToolCall.message_id == run.answer_id)
    open_steps = open_steps.where(ToolCall.finished_at.is_(None))
    ended_steps = open_steps.values(status=open_steps_become, finished_at=now())
    session.execute(ended_steps)
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
    if is_approved:
        call.status = StepStatus.APPROVED
    else:
        call.status = StepStatus.DENIED
    approval = Approval(
        tool_call_id=call.id,
        approved=is_approved,
        reason=reason or None,
        decided_by=user_id,
        requested_at=call.started_at,
        decided_at=now(),
    )
    session.add(approval)


def count_ended(run: Run) -> None:
    """Count a run that has ended, or begins to wait, in the metrics."""
    metrics.add("app.runs", outcome=run.status, error=run.error or "")
