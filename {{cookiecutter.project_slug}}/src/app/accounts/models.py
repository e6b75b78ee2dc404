"""Users and their sessions."""

import secrets
from datetime import datetime
from typing import Self
from uuid import UUID

from flask_security import UserMixin, hash_password
from sqlalchemy import JSON, ForeignKey, Index, String, false
from sqlalchemy.ext.mutable import MutableList
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database import Created, Identified, Model, new_id, now


class User(Created, Model, UserMixin):
    """An account; ``fs_uniquifier`` is Flask-Security's name for the id that its signed links carry."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)  # type: ignore[assignment]  # the mixin says int
    email: Mapped[str] = mapped_column(String(320), unique=True)
    password: Mapped[str] = mapped_column(String(255))
    active: Mapped[bool] = mapped_column(default=True)
    is_admin: Mapped[bool] = mapped_column(default=False)
    notify: Mapped[bool] = mapped_column(default=False, server_default=false())  # some device wanted notifications
    fs_uniquifier: Mapped[str] = mapped_column(String(64), unique=True)
    confirmed_at: Mapped[datetime | None]
    # Two-factor sign-in; the secret and the recovery codes are encrypted, the counter stops a code's second use.
    tf_primary_method: Mapped[str | None] = mapped_column(String(20))
    tf_totp_secret: Mapped[str | None] = mapped_column(String(500))
    tf_last_counter: Mapped[int | None]
    mf_recovery_codes: Mapped[list[str] | None] = mapped_column(MutableList.as_mutable(JSON))

    tf_phone_number = None
    roles = []  # noqa: RUF012  # Flask-Security assigns and asks for them; the one role here is ``is_admin``

    @classmethod
    def confirmed(cls, email: str, password: str) -> Self:
        """A new account whose address was not proved by a mail."""
        unique = secrets.token_hex(16)
        return cls(email=email, password=hash_password(password), fs_uniquifier=unique, confirmed_at=now())

    def get_auth_token(self) -> str:
        """Nothing: signing in works by session row only, a token would outlive it."""
        return ""


class Owned:
    """A mixin of models: rows go with their user."""

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))


class UserSession(Identified, Created, Owned, Model):
    """One signed-in device; whoever holds the token whose SHA-256 is stored here is signed in, nobody else."""

    __tablename__ = "user_sessions"
    __table_args__ = (Index(None, "user_id", "last_seen_at"), Index(None, "last_seen_at"))

    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    last_seen_at: Mapped[datetime] = mapped_column(default=now)
    address: Mapped[str] = mapped_column(String(45), default="")
    user_agent: Mapped[str] = mapped_column(String(200), default="")
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)
