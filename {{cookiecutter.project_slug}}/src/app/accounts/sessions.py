"""Sign-in by session row: the cookie carries a random token, the database its hash, and one query finds both the
session and its user. A session that is ended, idle too long or too old signs nobody in, whatever cookie is shown."""

import hashlib
import secrets
from contextlib import nullcontext
from datetime import timedelta
from typing import Any
from uuid import UUID

import blinker
from flask import Flask, current_app, g, request, session
from flask_login import current_user, user_logged_in, user_logged_out
from flask_security.signals import change_email_confirmed, password_changed, password_reset
from sqlalchemy import ColumnElement, delete, select, update

from app.accounts.models import User, UserSession
from app.config import Settings, settings
from app.database import db, new_id, now, reading, transaction
from app.observability import tracing
from app.security.limits import know_device
from app.security.markdown import clean_text

LAST_SEEN_EVERY = timedelta(minutes=1)
session_ended = blinker.NamedSignal("session-ended")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def is_alive(settings: Settings) -> ColumnElement[bool]:
    idle, age = timedelta(hours=settings.session_idle_hours), timedelta(hours=settings.session_absolute_hours)
    return (UserSession.last_seen_at > now() - idle) & (UserSession.created_at > now() - age)


def load_user(token: str) -> User | None:
    """The user of the living session that *token* belongs to; Flask-Login's user loader."""
    query = select(UserSession).where(UserSession.token_hash == _hash(token), is_alive(settings()))
    # A route that writes would hold the reader's connection beside the writer's until its end, and exhaust the pool.
    with nullcontext(db.session) if g.get("reads_only") else reading() as reader:
        row = reader.scalar(query)
    if row is None:
        return None
    user = db.session.merge(row.user, load=False)
    g.session_id = row.id
    tracing.identify(row.user_id)
    g.fs_authn_via, g.fs_paa = "session", session.get("fs_paa", 0)  # Flask-Security asks for these
    if now() - row.last_seen_at > LAST_SEEN_EVERY:
        with transaction() as writer:
            writer.execute(update(UserSession).where(UserSession.id == row.id).values(last_seen_at=now()))
    return user


def begin(sender: Any, user: User, **_: Any) -> None:
    """Start a session row for *user*, who has just proved who they are, and forget what an earlier visitor left."""
    end_current()
    db.session.flush()  # a new account gets its id
    token = secrets.token_urlsafe(32)
    row = UserSession(id=new_id(), token_hash=_hash(token), user_id=user.id, address=request.remote_addr or "")
    row.user_agent = clean_text(request.user_agent.string)[:200]
    db.session.add(row)
    for key in ("csrf_token", "_flashes"):
        session.pop(key, None)
    session["_user_id"] = token
    know_device(user.email)
    session.permanent = True
    g.session_id = row.id
    db.session.commit()


def _end(*which: ColumnElement[bool]) -> bool:
    ended = db.session.execute(delete(UserSession).where(*which).returning(UserSession.id)).first() is not None
    db.session.commit()
    return ended


def end_current(*_: Any, **__: Any) -> None:
    """End the session that this request's cookie names."""
    if (session_id := g.pop("session_id", None)) is not None:
        _end(UserSession.id == session_id)


def end(user: User, session_id: UUID) -> bool:
    """End one session of a user; False when they have no such session."""
    if ended := _end(UserSession.id == session_id, UserSession.user_id == user.id):
        session_ended.send(current_app._get_current_object(), user=user)  # type: ignore[attr-defined]
    return ended


def end_others(sender: Any, user: User, **_: Any) -> None:
    """End every session of a user but this request's own: how they sign in has changed."""
    mine = g.get("session_id") if current_user == user else None
    _end(UserSession.user_id == user.id, UserSession.id.is_distinct_from(mine))


def _after_reset(sender: Any, user: User, **_: Any) -> None:
    know_device(user.email)
    end_others(sender, user)


def _void_links(sender: Any, user: User, **_: Any) -> None:
    """Links that were mailed to an address the account no longer has are worth nothing."""
    current_app.extensions["security"].datastore.set_uniquifier(user)
    end_others(sender, user)


def living(user_id: UUID) -> list[UserSession]:
    """A user's living sessions, the most recently used first."""
    query = select(UserSession).where(UserSession.user_id == user_id, is_alive(settings()))
    return list(db.session.scalars(query.order_by(UserSession.last_seen_at.desc())))


def init_app(app: Flask) -> None:
    manager = app.login_manager  # type: ignore[attr-defined]
    manager.user_loader(load_user)
    manager.request_loader(None)  # no sign-in by header, query or body
    user_logged_in.connect(begin, app)
    user_logged_out.connect(end_current, app)
    password_changed.connect(end_others, app)
    password_reset.connect(_after_reset, app)
    change_email_confirmed.connect(_void_links, app)
