"""Sign-in by session row: the cookie carries a random token, the database its hash, and one query finds both the
session and its user. A session that is ended, idle too long or too old signs nobody in, whatever cookie is shown."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Any
from uuid import UUID

from flask import Flask, g, request, session
from flask_login import user_logged_in, user_logged_out
from sqlalchemy import ColumnElement, delete, select, update

from app.accounts.models import User, UserSession
from app.config import Settings
from app.config import current as settings
from app.database import db, now, transaction

LAST_SEEN_EVERY = timedelta(minutes=1)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _is_alive(settings: Settings) -> ColumnElement[bool]:
    return (UserSession.last_seen_at > now() - settings.session_idle) & (
        UserSession.created_at > now() - settings.session_absolute
    )


def load_user(token: str) -> User | None:
    """The user of the living session that *token* belongs to; Flask-Login's user loader."""
    query = select(UserSession).where(UserSession.token_hash == _hash(token), _is_alive(settings()))
    row = db.session.scalar(query, bind_arguments={"bind": db.engines["reader"]})
    if row is None or not row.user.active:
        return None
    g.session_id = row.id
    if now() - row.last_seen_at > LAST_SEEN_EVERY:
        with transaction() as writer:
            writer.execute(update(UserSession).where(UserSession.id == row.id).values(last_seen_at=now()))
    return row.user


def begin(sender: Any, user: User, **_: Any) -> None:
    """Start a session row for *user*, who has just proved who they are, and forget what an earlier visitor left."""
    end_current()
    db.session.flush()  # a new account gets its id
    token = secrets.token_urlsafe(32)
    db.session.add(
        UserSession(
            token_hash=_hash(token),
            user_id=user.id,
            address=request.remote_addr or "",
            user_agent=request.user_agent.string[:200],
        )
    )
    for key in ("csrf_token", "_flashes"):
        session.pop(key, None)
    session["_user_id"] = token
    session.permanent = True
    db.session.commit()


def end_current(*_: Any, **__: Any) -> None:
    """End the session that this request's cookie names."""
    if (session_id := g.pop("session_id", None)) is not None:
        db.session.execute(delete(UserSession).where(UserSession.id == session_id))
        db.session.commit()


def end(user_id: UUID, session_id: UUID) -> bool:
    """End one session of a user; False when they have no such session."""
    result = db.session.execute(
        delete(UserSession)
        .where(UserSession.id == session_id, UserSession.user_id == user_id)
        .returning(UserSession.id)
    )
    ended = result.first() is not None
    db.session.commit()
    return ended


def living(user_id: UUID) -> list[UserSession]:
    """A user's living sessions, the most recently used first."""
    query = select(UserSession).where(UserSession.user_id == user_id, _is_alive(settings()))
    return list(db.session.scalars(query.order_by(UserSession.last_seen_at.desc())))


def init_app(app: Flask) -> None:
    manager = app.login_manager  # type: ignore[attr-defined]
    manager.user_loader(load_user)
    manager.request_loader(None)  # no sign-in by header, query or body
    user_logged_in.connect(begin, app)
    user_logged_out.connect(end_current, app)
