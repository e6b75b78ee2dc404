"""Engines, sessions and the base of every model.

Three engines share one URL. ``default`` writes. ``reader`` serves routes that only read: on SQLite it opens deferred,
``query_only`` transactions, so that pages never wait for the one writer; on PostgreSQL read-only ones, from the same
pool. ``migrator`` changes the schema.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from flask import Flask, g
from flask_alembic import Alembic
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy import Connection, Dialect, Engine, MetaData, NullPool, event, make_url, orm, text, types
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from app.config import project, settings
from app.observability import metrics, tracing

# temp_store in memory and a bounded journal keep a small machine's disk quiet; NORMAL is durable with WAL but for a
# power cut's last commits (sqlite.org/wal.html).
SQLITE_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000", "temp_store=MEMORY",
                  "journal_size_limit=67108864")  # fmt: skip
# PostgreSQL gives up for the application before the application's own clients do; a migration may take its time.
POSTGRESQL_TIMEOUTS = {"statement_timeout": "10s", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "30s"}
# SQLite has one writer: its threads queue here, in order, instead of polling for the file's lock.
SQLITE_ENGINES: dict[str, Any] = {"default": {"pool_size": 1, "max_overflow": 0}, "reader": {}, "migrator": {}}
SPARE_CONNECTIONS = 8  # beyond one for each request thread: saving, tools, jobs

COLUMNS = "%(table_name)s_%(column_0_N_name)s"
NAMES = {"ix": f"ix_{COLUMNS}", "uq": f"uq_{COLUMNS}", "fk": f"fk_{COLUMNS}_%(referred_table_name)s"}
NAMES |= {"pk": "pk_%(table_name)s", "ck": "ck_%(table_name)s_%(constraint_name)s"}


class UTCDateTime(types.TypeDecorator[datetime]):
    """Aware datetimes in UTC on every engine; SQLite itself forgets the zone."""

    impl = types.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class Model(orm.DeclarativeBase):
    """Base of all models; the naming convention lets migrations name what they drop."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar = {datetime: UTCDateTime}


class RoutedSession(orm.Session):
    """A session whose engine follows the access table: the reader in routes that only read, else the writer."""

    def get_bind(self, mapper: Any = None, *, bind: Any = None, **kwargs: Any) -> Any:
        return bind or db.engines[self.info.get("engine") or ("reader" if g.get("reads_only") else "default")]

    def close(self) -> None:
        super().close()
        _call_waiting(self)


db = SQLAlchemy(session_options={"class_": RoutedSession, "expire_on_commit": False})


_current: ContextVar[orm.Session | None] = ContextVar("current transaction", default=None)


def after_commit(call: Callable[[], None], session: orm.Session | None = None) -> None:
    """Call when the transaction that is open (here, or in *session*) has committed; a rollback forgets it. A session
    that is closed without either has written nothing, and calls then; where none is open, at once."""
    session = session or _current.get() or db.session
    if session.in_transaction():
        session.info.setdefault("after commit", []).append(call)
    else:
        call()


@event.listens_for(RoutedSession, "after_commit")
def _call_waiting(session: orm.Session) -> None:
    for call in session.info.pop("after commit", ()):
        call()


@event.listens_for(RoutedSession, "after_rollback")
def _forget_waiting(session: orm.Session) -> None:
    session.info.pop("after commit", None)


def now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


class database_clock(FunctionElement[datetime]):  # noqa: N801 (a SQL function)
    """The current time by the database's clock, in SQL: hosts may disagree, the database does not."""

    type = UTCDateTime()
    inherit_cache = True


@compiles(database_clock, "postgresql")
def _postgresql_clock(element: object, compiler: object, **options: object) -> str:
    return "clock_timestamp()"


@compiles(database_clock, "sqlite")
def _sqlite_clock(element: object, compiler: object, **options: object) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


UNMODELLED = ("huey_", "message_search")  # tables of the job queue and the full-text index, and those that hold them


def new_id() -> UUID:
    """A UUID version 7 (RFC 9562): unguessable, and ordered by creation, so that it serves as a keyset key.

    Twelve of its bits are the fraction of the millisecond (method 3), which keeps one process's ids in order.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    random = int.from_bytes(os.urandom(8))
    return UUID(int=milliseconds << 80 | 7 << 76 | (rest * 4096 // 1_000_000) << 64 | 2 << 62 | random >> 2)


class Identified:
    """A mixin of models: rows are named by ``new_id``."""

    id: orm.Mapped[UUID] = orm.mapped_column(primary_key=True, default=new_id)


class Created:
    """A mixin of models: rows know since when they are there."""

    created_at: orm.Mapped[datetime] = orm.mapped_column(default=now)


def id_at(moment: date) -> UUID:
    """The lower bound of ids made on a day, in UTC, or later."""
    return UUID(int=int(datetime(moment.year, moment.month, moment.day, tzinfo=UTC).timestamp() * 1000) << 80)


@contextmanager
def transaction() -> Iterator[orm.Session]:
    """A short write transaction of its own, whatever the route: committed at the end, rolled back on an error."""
    with db.sessionmaker(info={"engine": "default"}) as session, session.begin():
        token = _current.set(session)
        try:
            yield session
        finally:
            _current.reset(token)


@contextmanager
def reading() -> Iterator[orm.Session]:
    """A short read outside of requests, on the reader engine."""
    with db.sessionmaker(info={"engine": "reader"}) as session:
        yield session


def init_app(app: Flask) -> None:
    with app.app_context():
        url = make_url(settings().database)
        sqlite = url.get_backend_name() == "sqlite"
        engine_options = SQLITE_ENGINES if sqlite else _postgresql_engines()
    if sqlite:
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    # Parameters are people's texts and addresses; an error message must not carry them into the log.
    options = {"url": url, "hide_parameters": True}
    app.config["SQLALCHEMY_ENGINES"] = {name: options | own for name, own in engine_options.items()}
    how: dict[str, Any] = {"render_as_batch": True, "compare_type": True, "user_module_prefix": "database."}
    how["include_name"] = lambda name, kind, _: kind != "table" or not name.startswith(UNMODELLED)
    app.config["ALEMBIC_CONTEXT"] = how
    db.init_app(app)
    # The extension closes asynchronous sessions, of which we have none, in an event loop of its own at every request.
    app.teardown_appcontext_funcs[:] = [f for f in app.teardown_appcontext_funcs if not iscoroutinefunction(f)]
    with app.app_context():
        engines = db.engines
        if sqlite:
            for name, engine in engines.items():
                _configure_sqlite(name, engine)
        else:
            engines["reader"] = engines["default"].execution_options(postgresql_readonly=True)
            event.listen(engines["migrator"], "begin", _one_at_a_time)
            if settings().pgbouncer:
                event.listen(engines["default"], "begin", _set_timeouts)
    pools: dict[str, Any] = {}
    for name, engine in engines.items():
        if sqlite or name != "reader":  # which elsewhere is the writer, with an option
            tracing.instrument_engine(engine)
            pools |= {name: engine.pool} if name != "migrator" else {}
    metrics.watch("app.database.pool.used", lambda: [(pool.checkedout(), {"engine": of}) for of, pool in pools.items()])
    sizes = {name: pool.size() + pool._max_overflow for name, pool in pools.items()}
    metrics.watch("app.database.replication.lag", lambda: None if sqlite else _replication_lag(engines["reader"]))
    metrics.watch("app.database.pool.size", lambda: [(size, {"engine": name}) for name, size in sizes.items()])
    alembic = Alembic(metadatas=Model.metadata, engines=engines["migrator"], run_mkdir=False)
    alembic.init_app(app)
    app.extensions["readiness"]["database"] = lambda: _ready(alembic)


def _postgresql_engines() -> dict[str, dict[str, Any]]:
    connection: dict[str, Any] = {"connect_timeout": 5, "application_name": project()["name"]}
    own = {}
    if settings().pgbouncer:
        # Pooled by transaction, a server connection changes hands: nothing may be prepared on it or set for good.
        connection["prepare_threshold"] = None
    else:
        own = {"options": " ".join(f"-c {name}={value}" for name, value in POSTGRESQL_TIMEOUTS.items())}
    # Open streams hold no connection, so the threads that answer requests bound the pool.
    pool: dict[str, Any] = {"pool_size": settings().web_threads, "max_overflow": SPARE_CONNECTIONS, "pool_timeout": 5}
    pool |= {"pool_pre_ping": True, "pool_recycle": 1800, "connect_args": connection | own}
    return {"default": pool, "migrator": {"poolclass": NullPool, "connect_args": connection}}


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


def _replication_lag(engine: Engine) -> float | None:
    """Of the farthest replica, in seconds; nothing where there is none, or where this role may not see it."""
    with engine.connect() as connection:
        lag = connection.scalar(text("SELECT extract(epoch FROM max(replay_lag)) FROM pg_stat_replication"))
    return None if lag is None else float(lag)


def _one_at_a_time(connection: Connection) -> None:
    # Of two processes that migrate at once, the second waits, and finds that nothing is left to do.
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7262011)")


def _set_timeouts(connection: Connection) -> None:
    values = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in POSTGRESQL_TIMEOUTS.items())
    connection.exec_driver_sql(f"SELECT {values}")


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
        connection.connection.execute(begin)  # beside the tracing of queries
