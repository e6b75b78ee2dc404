"""Notifications of answers that ended, or wait for approval, while nobody looked."""

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

BODIES: dict[str, str] = {
    RunStatus.DONE: "Your answer is ready.",
    RunStatus.WAITING: "The assistant waits for your approval.",
    RunStatus.ERROR: "Your question could not be answered.",
}
GRACE = timedelta(seconds=3)  # in which an open page can say that someone saw the end


def ended(app: Flask, run_ids: Iterable[UUID]) -> None:
    """Queue a notification for each of these runs whose user wants one.

    Called before any page can know of the ends.
    """
    query = select(Run.id).join(User, User.id == Run.user_id)
    query = query.where(Run.id.in_(run_ids))
    query = query.where(User.notify)
    try:
        with app.app_context(), transaction() as session:
            wanted = session.scalars(query).all()
            if not wanted:
                return
            # A run that waited for an approval has been seen then, not now.
            wanted_runs = update(Run).where(Run.id.in_(wanted))
            session.execute(wanted_runs.values(seen_at=None))
            for run_id in wanted:
                notify.enqueue(run_id)
    except Exception:  # whatever it is: it must not stop the saving of answers
        app.logger.exception("no notifications of the ends of runs could be queued")


@jobs.task(delay=GRACE)
def notify(run_id: UUID) -> None:
    """Send a notification to each device of the run's user, unless its end was seen."""
    with reading() as session:
        run = session.get(Run, run_id)
        if run is None or run.seen_at or run.status not in BODIES:
            return
        conversation = session.get_one(Conversation, run.conversation_id)
        devices = push.devices(session, run.user_id)
    message = {
        "body": BODIES[run.status],
        "url": f"/chat/{conversation.id}",
        # A later notification of this conversation replaces an earlier one.
        "tag": conversation.id.hex,
    }
    for device, _ in devices:
        title = project()["name"]
        if device.with_title:
            title = conversation.title
        push.send.enqueue(device.session_id, {"title": title} | message)


# Jobs that the release before has queued.
jobs.Job.registry["app.chat.background.tell"] = notify
