"""Engines, sessions and the base of every model.

Three engines share one URL. ``default`` writes. ``reader`` serves routes that only read: on SQLite it opens deferred,
``query_only`` transactions, so that pages never wait for the one writer. ``migrator`` changes the schema.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from flask import Flask, g
from flask_alembic import Alembic
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy import DateTime, Dialect, Engine, MetaData, event, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.types import TypeDecorator

from app.config import current as settings

# temp_store in memory and a bounded journal keep a small machine's disk quiet; NORMAL is durable with WAL but for a
# power cut's last commits (sqlite.org/wal.html).
SQLITE_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000", "temp_store=MEMORY",
                  "journal_size_limit=67108864")  # fmt: skip


class UTCDateTime(TypeDecorator[datetime]):
    """Aware datetimes in UTC on every engine; SQLite itself forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class Model(DeclarativeBase):
    """Base of all models; the naming convention lets migrations name what they drop."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {datetime: UTCDateTime}


class RoutedSession(Session):
    """A session whose engine follows the access table: the reader in routes that only read, else the writer."""

    def get_bind(self, mapper: Any = None, *, bind: Any = None, **kwargs: Any) -> Any:
        return bind or db.engines[self.info.get("engine") or ("reader" if g.get("reads_only") else "default")]


db = SQLAlchemy(session_options={"class_": RoutedSession, "expire_on_commit": False})


def now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """A UUID version 7 (RFC 9562): unguessable, and ordered by creation, so that it serves as a keyset key."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    value = milliseconds << 80 | 7 << 76 | (random >> 68) << 64 | 2 << 62 | random & (1 << 62) - 1
    return UUID(int=value)


@contextmanager
def transaction() -> Iterator[Session]:
    """A short write transaction of its own, whatever the route: committed at the end, rolled back on an error."""
    with db.sessionmaker(info={"engine": "default"}) as session, session.begin():
        yield session


@contextmanager
def reading() -> Iterator[Session]:
    """A short read outside of requests, on the reader engine."""
    with db.sessionmaker(info={"engine": "reader"}) as session:
        yield session


def init_app(app: Flask) -> None:
    with app.app_context():
        url = make_url(settings().database)
    if url.get_backend_name() == "sqlite":
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    # Parameters are people's texts and addresses; an error message must not carry them into the log.
    options = {"url": url, "hide_parameters": True}
    # SQLite has one writer: its threads queue here, in order, instead of polling for the file's lock.
    writer = {"pool_size": 1, "max_overflow": 0} if url.get_backend_name() == "sqlite" else {}
    app.config["SQLALCHEMY_ENGINES"] = {"default": options | writer, "reader": options, "migrator": options}
    app.config["ALEMBIC_CONTEXT"] = {"render_as_batch": True, "compare_type": True, "user_module_prefix": "database."}
    db.init_app(app)
    # The extension closes asynchronous sessions, of which we have none, in an event loop of its own at every request.
    app.teardown_appcontext_funcs[:] = [f for f in app.teardown_appcontext_funcs if not iscoroutinefunction(f)]
    with app.app_context():
        engines = db.engines
    if url.get_backend_name() == "sqlite":
        for name, engine in engines.items():
            _configure_sqlite(name, engine)
    alembic = Alembic(metadatas=Model.metadata, engines=engines["migrator"], run_mkdir=False)
    alembic.init_app(app)
    app.extensions["readiness"]["database"] = lambda: _ready(alembic)


def _ready(alembic: Alembic) -> str:
    """Fails for a dead database and a schema behind the code; a revision this code does not know is ahead of it."""
    try:
        with db.engines["reader"].connect() as connection:
            revisions = set(connection.scalars(text("SELECT version_num FROM alembic_version")))
    except SQLAlchemyError as error:
        return f"failed: {type(error).__name__}"
    script = alembic.script_directory
    known = {revision.revision for revision in script.walk_revisions()}
    behind = not revisions or (revisions <= known and revisions != set(script.get_heads()))
    return "failed: the schema is behind the code; run flask db upgrade" if behind else "ok"


def _configure_sqlite(name: str, engine: Engine) -> None:
    # Without IMMEDIATE two read-modify-write transactions silently lose one another's updates. A batch migration
    # drops the table it rebuilds, which with foreign keys on would delete every row that refers to it.
    begin = "BEGIN" if name == "reader" else "BEGIN IMMEDIATE"
    own = {"reader": ("query_only=ON",), "default": ("foreign_keys=ON",), "migrator": ()}[name]

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        for pragma in SQLITE_PRAGMAS + own:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)
