"""A database as a file: dumped, loaded, compared by the hashes of its rows; what differs between engines is here."""

import hashlib
import secrets
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, NullPool, create_engine, inspect, text

from app.operations import OperationError

SQLITE = "database.sqlite"
POSTGRESQL = "database.pgdump"


def run(*command: str, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    """The output of a program.

    Raises:
        OperationError: it is not installed, or failed; with the end of what it said.
    """
    try:
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        fix = "apt-get install restic postgresql-client, or brew install restic libpq; see https://restic.net"
        raise OperationError(f"{command[0]} is not installed: {fix}") from None
    if done.returncode:
        said = done.stderr.split()
        raise OperationError(
            f"{command[0]} failed: {' '.join(said if len(said) < 100 else [*said[:40], '...', *said[-60:]])}"
        )
    return done.stdout


def _dsn(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def _connected(url: URL) -> Iterator[Connection]:
    # Not the application's engines: their time-outs are for requests.
    engine = create_engine(url, poolclass=NullPool, isolation_level="REPEATABLE READ" if _is_postgresql(url) else None)
    with engine.connect() as connection:
        yield connection


def _is_postgresql(url: URL) -> bool:
    return url.get_backend_name() == "postgresql"


def _copy(source: object, target: object) -> None:
    new = sqlite3.connect(str(target), timeout=60)
    with closing(new), closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as old:
        old.backup(new)


def dump(url: URL, folder: Path) -> dict[str, str]:
    """Write the database into *folder* as it is at one moment, whoever writes meanwhile; returns its row hashes."""
    if not _is_postgresql(url):
        _copy(url.database, folder / SQLITE)
        return hashes(url.set(database=str(folder / SQLITE)))
    with _connected(url) as connection:
        snapshot = str(connection.scalar(text("SELECT pg_export_snapshot()")))
        # Not compressed: restic does that, and can tell what has not changed only in the plain.
        run("pg_dump", "-Fc", "-Z0", "--snapshot", snapshot, "-f", str(folder / POSTGRESQL), _dsn(url))
        return _hashes(connection)


def load(folder: Path, url: URL) -> None:
    """Replace all that is in the database by what was dumped into *folder*, in one transaction."""
    if not (folder / (POSTGRESQL if _is_postgresql(url) else SQLITE)).exists():
        raise OperationError("this backup was made with another database engine than DATABASE_URL names")
    if not _is_postgresql(url):
        _copy(folder / SQLITE, url.database)
        return
    script = folder / "database.sql"  # whole, before it is run: a broken dump changes nothing
    run("pg_restore", "--no-owner", "-f", str(script), str(folder / POSTGRESQL))
    clear = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
    run("psql", "-Xq1", "-v", "ON_ERROR_STOP=1", "-c", clear, "-f", str(script), _dsn(url))


def hashes(url: URL) -> dict[str, str]:
    """Number and hash of the rows of each table, whatever their order."""
    with _connected(url) as connection:
        return _hashes(connection)


def _hashes(connection: Connection) -> dict[str, str]:
    found = {}
    row_text = "CAST(t AS text)" if connection.dialect.name == "postgresql" else "*"
    for name in inspect(connection).get_table_names():
        count = total = 0
        query = text(f'SELECT {row_text} FROM "{name}" t')  # noqa: S608 (names of our own tables)
        for row in connection.execution_options(yield_per=2000).execute(query):
            digest = hashlib.blake2b(repr(tuple(row)).encode(), digest_size=16).digest()
            count, total = count + 1, (total + int.from_bytes(digest)) % 2**128
        found[name] = f"{count}:{total:032x}"
    return found


@contextmanager
def scratch(url: URL, folder: Path) -> Iterator[URL]:
    """A new, empty database of the same engine that is gone afterwards."""
    if not _is_postgresql(url):
        yield url.set(database=str(folder / "scratch.sqlite"))
        return
    name = f"drill_{secrets.token_hex(4)}"
    run("psql", "-Xq", "-c", f"CREATE DATABASE {name}", _dsn(url))
    try:
        yield url.set(database=name)
    finally:
        run("psql", "-Xq", "-c", f"DROP DATABASE {name} WITH (FORCE)", _dsn(url))
