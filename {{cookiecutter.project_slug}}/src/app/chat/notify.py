"""Tells people on their other devices that an answer has ended, unless a page has shown them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from flask import Flask
from sqlalchemy import select, update

from app import jobs
from app.accounts.models import User
from app.chat.models import Conversation, Run, RunStatus
from app.config import project
from app.database import reading, transaction
from app.pwa import push

logger = logging.getLogger(__name__)

BODIES = {
    RunStatus.DONE: "Your answer is ready.",
    RunStatus.WAITING: "The assistant waits for your approval.",
    RunStatus.ERROR: "Your question could not be answered.",
}
GRACE = timedelta(seconds=3)  # in which an open page can say that someone has seen the end


def ended(app: Flask, run_ids: Iterable[UUID]) -> None:
    """See to it that the users of these runs are told, if they ever wanted to be; called before any page can know."""
    query = select(Run.id).join(User, User.id == Run.user_id).where(Run.id.in_(run_ids), User.notify)
    try:
        with app.app_context():
            with reading() as session:
                wanted = session.scalars(query).all()
            if wanted:
                _tell_later(wanted)
    except Exception:  # whatever it is: a notification must not stop the saving of answers
        logger.exception("nobody is told of the ends of runs")


def _tell_later(run_ids: Iterable[UUID]) -> None:
    with transaction() as session:
        # A run that waited for an approval has been seen then, not now.
        session.execute(update(Run).where(Run.id.in_(run_ids)).values(seen_at=None))
        for run_id in run_ids:
            tell.enqueue(run_id)


@jobs.task(delay=GRACE)
def tell(run_id: UUID) -> None:
    """Queue a notification for each device of the run's user, unless its end was seen."""
    with reading() as session:
        run = session.get(Run, run_id)
        if run is None or run.seen_at or run.status not in BODIES:
            return
        conversation = session.get_one(Conversation, run.conversation_id)
        devices = push.devices(session, run.user_id)
    message = {
        "body": BODIES[RunStatus(run.status)],
        "url": f"/chat/{conversation.id}",
        "tag": conversation.id.hex,  # a later notification of this conversation replaces an earlier one
    }
    for device, _ in devices:
        title = conversation.title if device.with_title else project()["name"]
        push.send.enqueue(device.session_id, message | {"title": title})
