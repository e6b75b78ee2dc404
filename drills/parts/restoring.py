"""What the restore drill works with: engines that can be asked and wiped, repositories that can be damaged, and
operators' commands in processes that can be killed.

Run as a script by the interpreter of a generated project it is where those processes come from: they need not import
anything, so that what is measured and killed is the command itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

Rows = list[tuple[Any, ...]]
State = dict[str, str]


class SQLite:
    name, new_id = "SQLite", "lower(hex(randomblob(16)))"

    def __init__(self, folder: Path):
        self.file = folder / "app.db"
        self.url = f"sqlite:///{self.file}"

    def ask(self, statement: str) -> Rows:
        with closing(sqlite3.connect(self.file, timeout=60)) as connection, connection:
            return connection.execute(statement).fetchall()

    def writer(self) -> Callable[[str], object]:
        """Runs scripts, each a transaction."""
        connection = sqlite3.connect(self.file, timeout=60, check_same_thread=False, isolation_level=None)
        return connection.executescript

    def columns(self, table: str) -> list[str]:
        return [row[1] for row in self.ask(f"PRAGMA table_info({table})")]

    def literal(self, value: uuid.UUID) -> str:
        return f"'{value.hex}'"

    def rows(self) -> State:
        """The hash of the schema and of each table's rows, in any order; not as the application makes its own."""
        tables = self.ask("SELECT name FROM sqlite_master WHERE type = 'table'")
        found = {name: _digest(self.ask(f'SELECT * FROM "{name}"')) for (name,) in tables}
        return found | {"(schema)": _digest(self.ask("SELECT type, name, sql FROM sqlite_master"))}

    def wipe(self) -> None:
        for file in self.file.parent.glob("app.db*"):
            file.unlink()

    def broken_references(self) -> int:
        return len(self.ask("PRAGMA foreign_key_check"))


class PostgreSQL:
    name, new_id = "PostgreSQL", "gen_random_uuid()"

    def __init__(self, server: Any):
        self.server, self.url = server, server.url

    def ask(self, statement: str) -> Rows:
        said = self.server.sql(statement, "app")
        return [tuple(line.split("|")) for line in said.splitlines()]

    def writer(self) -> Callable[[str], object]:
        command = [str(self.server.bin / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", self.url]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def run(script: str) -> None:
            assert process.stdin
            assert process.stdout
            process.stdin.write(f"{script}\n\\echo done\n")
            process.stdin.flush()
            if process.stdout.readline() != "done\n":
                raise SystemExit("a writer's transaction failed")

        return run

    def columns(self, table: str) -> list[str]:
        where = f"table_schema = 'public' AND table_name = '{table}'"
        query = f"SELECT column_name FROM information_schema.columns WHERE {where} ORDER BY ordinal_position"
        return [name for (name,) in self.ask(query)]

    def literal(self, value: uuid.UUID) -> str:
        return f"'{value}'::uuid"

    def rows(self) -> State:
        row, definition = "md5(t::text)", "conname || pg_get_constraintdef(oid)"
        each = [
            f"SELECT '{table}', count(*), md5(string_agg({row}, ' ' ORDER BY {row})) FROM \"{table}\" t"
            for (table,) in self.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ]
        constraints = f"md5(string_agg({definition}, ' ' ORDER BY {definition})) FROM pg_constraint"
        each.append(f"SELECT '(schema)', count(*), {constraints} WHERE connamespace = 'public'::regnamespace")
        return {name: f"{count} {digest}" for name, count, digest in self.ask(" UNION ALL ".join(each))}

    def wipe(self) -> None:
        self.ask("SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def broken_references(self) -> int:
        """Constraints that are not proven; the server itself has looked at every row of the others."""
        return int(self.ask("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND NOT convalidated")[0][0])


Engine = SQLite | PostgreSQL


def _digest(rows: Rows) -> str:
    return f"{len(rows)} {hashlib.sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()}"


def files(folder: Path) -> State:
    """The hash of each file that a backup has to bring back."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix == ".bin")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


class Folder:
    """A repository on a disk."""

    name = "a folder"

    def __init__(self, folder: Path):
        self.folder, self.environment = folder, {"RESTIC_REPOSITORY": str(folder)}

    def names(self, kind: str) -> list[str]:
        return [str(p.relative_to(self.folder)) for p in sorted((self.folder / kind).rglob("*")) if p.is_file()]

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        (self.folder / name).unlink(missing_ok=True)  # restic's files may not be written to
        (self.folder / name).write_bytes(content)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()


class S3:
    """A bucket of an S3 server that asks for a signature and believes any."""

    name = "S3"
    SIGNED = "AWS4-HMAC-SHA256 Credential=drill/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"

    def __init__(self, port: int, bucket: str):
        self.base = f"http://127.0.0.1:{port}/{bucket}"
        self.environment = {"RESTIC_REPOSITORY": f"s3:{self.base}", "AWS_DEFAULT_REGION": "us-east-1"}
        self.environment |= {"AWS_ACCESS_KEY_ID": "drill", "AWS_SECRET_ACCESS_KEY": "for-one-drill"}
        self._ask("PUT", "")

    def _ask(self, method: str, path: str, content: bytes | None = None) -> bytes:
        headers = {"Authorization": self.SIGNED, "Content-Type": "application/octet-stream"}  # a form would be read
        request = urllib.request.Request(self.base + path, content, headers, method=method)
        return bytes(urllib.request.urlopen(request, timeout=60).read())

    def names(self, kind: str) -> list[str]:
        listed = self._ask("GET", f"?list-type=2&prefix={urllib.parse.quote(kind)}/").decode()
        return re.findall(r"<Key>([^<]+)</Key>", listed)

    def read(self, name: str) -> bytes:
        return self._ask("GET", f"/{name}")

    def write(self, name: str, content: bytes) -> None:
        self._ask("PUT", f"/{name}", content)

    def remove(self, name: str) -> None:
        self._ask("DELETE", f"/{name}")


Repository = Folder | S3


class Command:
    """One command that runs: it and what it has started can be killed, as a machine that goes away would."""

    def __init__(self, pool: Commands, arguments: tuple[str, ...], environment: dict[str, str]):
        self.pool, self.output = pool, pool.folder / "said"
        order = {"arguments": arguments, "environment": environment, "output": str(self.output)}
        self.pid = pool.tell(order)

    def runs(self, words: str) -> bool:
        """Whether a program of this command's, whose command line has these words, runs."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if words in line and os.getpgid(int(folder.name)) == self.pid:
                    return True
        return False

    def kill_after(self, seconds: float, words: str, locked: Callable[[], object]) -> None:
        """SIGKILL, so long after the command has begun, or a program with these words holds the repository's lock."""
        deadline = time.monotonic() + 120
        while words and not (self.runs(words) and locked()):
            if time.monotonic() > deadline or not Path(f"/proc/{self.pid}").exists():
                break
            time.sleep(0.005)
        time.sleep(seconds)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self) -> tuple[int, str]:
        """Exit status, the signal negative, and all that was said; nothing of it is left."""
        status, deadline = self.pool.hear(), time.monotonic() + 60
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:  # until init has collected restic: its lock looks alive so long
                os.killpg(self.pid, 0)
                time.sleep(0.05)
        return status, self.output.read_text()


class Commands:
    """Where the commands of one project come from."""

    def __init__(self, project: Path, folder: Path):
        self.folder = folder
        folder.mkdir()
        command = [str(project / ".venv/bin/python"), __file__]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder, start_new_session=True
        )

    def tell(self, order: dict[str, Any]) -> int:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self) -> int:
        assert self.process.stdout
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close() if self.process.stdin else None
        self.process.wait(60)


def serve() -> None:
    """Runs each order of standard input; answers with its process id, then with its exit status."""
    import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401
    from flask.cli import main

    import app.operations.backup  # noqa: F401 (as the command line does, but once for all)

    while line := sys.stdin.readline():
        order = json.loads(line)
        begun, begins = os.pipe()
        pid = os.fork()
        if not pid:
            os.setsid()
            output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            for descriptor in (1, 2):
                os.dup2(output, descriptor)
            os.close(begun), os.close(begins)
            os.environ.clear()
            os.environ |= order["environment"]
            sys.argv = ["flask", *order["arguments"]]
            main()
        os.close(begins)
        os.read(begun, 1)  # until it leads a group that can be killed
        os.close(begun)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
