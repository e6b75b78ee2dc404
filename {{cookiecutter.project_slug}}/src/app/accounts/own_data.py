"""A user's own data: all of it as one JSON file, or gone. Upper rooms register what else belongs to a user."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import UUID

import blinker
from flask import Flask, current_app
from sqlalchemy import delete, inspect, select

from app.accounts.models import User, UserSession
from app.database import Model, reading, transaction

# Sent before an account's rows go: whatever works for the user or lies outside the database has to stop or go, too.
account_deleted = blinker.NamedSignal("account-deleted")
Part = Callable[[UUID], Iterable[dict[str, Any]]]
SECRET = {"password", "fs_uniquifier", "tf_totp_secret", "tf_last_counter", "mf_recovery_codes", "token_hash"}


def exports(app: Flask, name: str, part: Part) -> None:
    """Add a list *name* of a user's things to the export; *part* reads them in short transactions of its own."""
    app.extensions["own_data"][name] = part


def columns(row: Model, *without: str) -> dict[str, Any]:
    """What a row says, but secrets."""
    names = (column.key for column in inspect(type(row)).column_attrs)
    return {name: getattr(row, name) for name in names if name not in SECRET and name not in without}


def rows_of(model: Any, column: Any) -> Part:
    """The rows of a table whose *column* is the user's id."""

    def part(user_id: UUID) -> list[dict[str, Any]]:
        with reading() as session:
            return [columns(row) for row in session.scalars(select(model).where(column == user_id))]

    return part


def export(user_id: UUID) -> Iterator[str]:
    """Everything that is stored about a user, as JSON in pieces."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]

    def pieces() -> Iterator[str]:
        with app.app_context():
            for number, (name, part) in enumerate(app.extensions["own_data"].items()):
                yield f"{',' if number else '{'}\n{json.dumps(name)}: ["
                for index, row in enumerate(part(user_id)):
                    yield f"{',' if index else ''}\n{json.dumps(row, default=str)}"
                yield "]"
            yield "\n}\n"

    return pieces()


def delete_account(user: User) -> None:
    """Delete an account with everything that refers to it; its sessions are worth nothing from now on."""
    account_deleted.send(current_app._get_current_object(), user=user)  # type: ignore[attr-defined]
    with transaction() as session:
        session.execute(delete(User).where(User.id == user.id))


def init_app(app: Flask) -> None:
    devices = rows_of(UserSession, UserSession.user_id)
    app.extensions["own_data"] = {"account": rows_of(User, User.id), "sessions": devices}
