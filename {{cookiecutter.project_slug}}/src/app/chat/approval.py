"""A person's decision on tool calls that wait for one.

The calls never leave the server: a decision names a call, and nothing of what it would do. Each counts once, whatever
the number of tabs, devices and processes; when the last call of a run is decided, the run goes on in this process.
"""

from __future__ import annotations

from typing import cast
from uuid import UUID

from flask import abort
from sqlalchemy import select

from app.chat import runs, stale
from app.chat.models import Approval, Message, Run, RunStatus, ToolCall
from app.database import db, now
from app.errors import Problem


def decide(user_id: UUID, call_id: UUID, approved: bool, reason: str) -> Run:
    """Approve or deny a call of the user's own run.

    Raises:
        Problem: 409 when it does not wait any more, 503 when this process cannot take a run.
        NotFound: when there is no such call, or it is someone else's.
    """
    runs.runner().admit()
    mine = select(ToolCall, Run).join(Run, Run.answer_id == ToolCall.message_id).where(Run.user_id == user_id)
    # Both rows are locked: of two decisions at once, the second sees what the first has made of them.
    found = db.session.execute(mine.where(ToolCall.id == call_id).with_for_update()).one_or_none()
    if found is None:
        abort(404)
    call, run = found
    if run.status != RunStatus.WAITING or call.status != "waiting":
        db.session.rollback()
        raise Problem(409, "already-decided", "This has been decided already, or the answer has been stopped.")
    call.status = "approved" if approved else "denied"
    verdict = {"approved": approved, "reason": reason or None, "decided_by": user_id}
    db.session.add(Approval(tool_call_id=call.id, requested_at=call.started_at, decided_at=now(), **verdict))
    db.session.flush()
    rest = select(ToolCall.id).where(ToolCall.message_id == call.message_id, ToolCall.status == "waiting")
    if db.session.scalars(rest).first() is not None:
        db.session.commit()
        return run
    run.status, run.worker, run.heartbeat_at = RunStatus.RUNNING, stale.this_worker(), now()
    answer = db.session.get_one(Message, run.answer_id)
    answer.event_number += 1  # the event `waiting` has been sent
    db.session.commit()
    runs.runner().resume(run, answer, cast("UUID", answer.parent_id))
    return run
