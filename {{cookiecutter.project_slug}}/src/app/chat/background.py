"""What is done in the background: titles that the model makes of first questions, and notifications of ends."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from flask import Flask, current_app
from sqlalchemy import select, update

from app import jobs
from app.accounts.models import User
from app.chat.models import Conversation, Message, Run
from app.config import project, read_table
from app.database import reading, transaction
from app.pwa import push
from app.security.markdown import clean_text

TITLE_CHARS = 60
SECONDS = 30


def first_title(text: str) -> str:
    """A title until there is a better one: the beginning of the question's first line."""
    line = text.strip().partition("\n")[0].strip()
    return line if len(line) <= TITLE_CHARS else f"{line[: TITLE_CHARS - 1].rstrip()}…"


@jobs.task(retries=1)
def suggest(conversation_id: UUID) -> None:
    """Let the model name a conversation, unless its user has done so."""
    from app.chat import asking

    first = select(Message.text).where(Message.conversation_id == conversation_id).order_by(Message.id).limit(1)
    with reading() as session:
        question = session.scalar(first)
    if question is None:
        return
    loop = current_app.extensions["runner"].loop
    title = loop.submit(asking.title_of(current_app._get_current_object(), question)).result(SECONDS)  # type: ignore[attr-defined]
    if not (title := first_title(clean_text(title).strip(" \t\n\"'#*"))):
        return
    untouched = Conversation.id == conversation_id, Conversation.title == first_title(question)
    with transaction() as session:
        session.execute(update(Conversation).where(*untouched).values(title=title))


BODIES = read_table(__file__, "notifications.toml")  # by the status of a run
GRACE = timedelta(seconds=3)  # in which an open page can say that someone has seen the end


def ended(app: Flask, run_ids: Iterable[UUID]) -> None:
    """See to it that the users of these runs are told, if they ever wanted to be; called before any page can know."""
    query = select(Run.id).join(User, User.id == Run.user_id).where(Run.id.in_(run_ids), User.notify)
    try:
        with app.app_context(), transaction() as session:
            wanted = session.scalars(query).all()
            # A run that waited for an approval has been seen then, not now.
            session.execute(update(Run).where(Run.id.in_(wanted)).values(seen_at=None))
            for run_id in wanted:
                tell.enqueue(run_id)
    except Exception:  # whatever it is: a notification must not stop the saving of answers
        app.logger.exception("nobody is told of the ends of runs")


@jobs.task(delay=GRACE)
def tell(run_id: UUID) -> None:
    """Queue a notification for each device of the run's user, unless its end was seen."""
    with reading() as session:
        run = session.get(Run, run_id)
        if run is None or run.seen_at or run.status not in BODIES:
            return
        conversation = session.get_one(Conversation, run.conversation_id)
        devices = push.devices(session, run.user_id)
    message = {"body": BODIES[run.status], "url": f"/chat/{conversation.id}"}
    message["tag"] = conversation.id.hex  # a later notification of this conversation replaces an earlier one
    for device, _ in devices:
        title = conversation.title if device.with_title else project()["name"]
        push.send.enqueue(device.session_id, message | {"title": title})
