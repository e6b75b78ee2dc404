"""What drills stand on: the generated project, installed, and real servers that can be hurt."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).parent
WORK = Path(tempfile.mkdtemp(prefix="drill-"))
Processes: list[subprocess.Popen[bytes]] = []


def project() -> Path:
    """The default project, installed; DRILL_PROJECT names one that is there already."""
    if given := os.environ.get("DRILL_PROJECT"):
        return Path(given)
    out = HERE.parent / ".drills"
    command = [
        sys.executable,
        "-m",
        "cookiecutter",
        "--no-input",
        "--overwrite-if-exists",
        "-o",
        str(out),
        str(HERE.parent),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["make", "--no-print-directory", "setup"], cwd=out / "chat-assistant", check=True, stdout=subprocess.DEVNULL
    )
    return out / "chat-assistant"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], seconds: float = 60, what: str = "") -> float:
    """How long it took until *condition* was true."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise SystemExit(f"not within {seconds} seconds: {what or condition}")
        time.sleep(0.1)
    return time.monotonic() - started


def spawn(*command: str, log: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[bytes]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with (WORK / log).open("ab") as out:
        process = subprocess.Popen(
            command, cwd=cwd or WORK, env=kept | environment, stdout=out, stderr=out, start_new_session=True
        )
    Processes.append(process)
    return process


def end_all() -> None:
    for process in Processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for running in WORK.glob("pg*/postmaster.pid"):  # which is gone once a database has ended
        with suppress(ProcessLookupError):
            os.kill(int(running.read_text().split()[0]), signal.SIGQUIT)


def small_disk(name: str, megabytes: int) -> Path:
    """A file system of its own that can be filled; needs root."""
    folder = WORK / name
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "tmpfs", str(folder)], check=True)
    return folder


def fill(folder: Path) -> Callable[[], None]:
    """Leave no byte free; returns what frees them."""
    file = folder / "filler"
    with file.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(65_536))
        except OSError:
            pass
    return file.unlink


class Postgres:
    """A real PostgreSQL, whose database lives on a small disk."""

    def __init__(self, disk: Path | None = None):
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not binaries:
            raise SystemExit("PostgreSQL is missing: apt-get install postgresql")
        self.bin, self.port, self.folder = binaries[-1], free_port(), WORK / "pg"
        WORK.chmod(0o755)
        self.folder.mkdir()
        shutil.chown(self.folder, "postgres")
        self.run("initdb", "-D", str(self.folder), "-U", "app", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")
        self.start()
        where = ""
        if disk:
            (disk / "tables").mkdir()
            shutil.chown(disk / "tables", "postgres")
            self.sql(f"CREATE TABLESPACE small LOCATION '{disk / 'tables'}'")
            where = " TABLESPACE small"
        self.sql(f"CREATE DATABASE app{where}")
        self.url = f"postgresql://app@127.0.0.1:{self.port}/app"

    def run(self, program: str, *arguments: str) -> None:
        command = ["runuser", "-u", "postgres", "--", str(self.bin / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self.run("pg_ctl", "-D", str(self.folder), "-l", str(self.folder / "log"), "-w", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        self.run("pg_ctl", "-D", str(self.folder), "-m", mode, "-w", "stop")

    def signal(self, what: signal.Signals) -> None:
        parent = int((self.folder / "postmaster.pid").read_text().split()[0])
        for pid in (parent, *children(parent)):
            os.kill(pid, what)

    def sql(self, statement: str, database: str = "postgres") -> str:
        command = [
            str(self.bin / "psql"),
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            "app",
            "-Atqc",
            statement,
            database,
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Redis:
    """A real Redis that can be killed, slowed and flushed."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        self.process = spawn(
            "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", log="redis.log"
        )
        wait_until(lambda: listens(self.port), 10, "Redis")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def say(self, *words: str) -> None:
        subprocess.run(["redis-cli", "-p", str(self.port), *words], check=True, stdout=subprocess.DEVNULL)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class App:
    """The generated application as it is served, with a process for its jobs."""

    def __init__(self, path: Path, folder: Path, workers: int = 2, jobs: bool = True, **environment: str):
        self.path, self.port, self.folder = path, free_port(), folder
        self.environment = {
            "APP_ENV": "development",
            "SECRET_KEY": "for-one-drill-0123456789-abcdefghijklmn",
            "DATA_DIR": str(folder),
            "PORT": str(self.port),
            "WEB_CONCURRENCY": str(workers),
            "PATH": f"{path / '.venv/bin'}:{os.environ['PATH']}",
        } | environment
        self.flask("db", "upgrade")
        self.server = spawn(
            "gunicorn", "-c", str(path / "gunicorn.conf.py"), "--pythonpath", str(path), "wsgi:app",
            log="app.log", **self.environment,
        )  # fmt: skip
        self.jobs = (
            spawn("flask", "--app", f"{path}/wsgi.py", "jobs", log="jobs.log", **self.environment) if jobs else None
        )
        wait_until(self.ready, 60, "the application")

    def flask(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.path / ".venv/bin/flask"), "--app", f"{self.path}/wsgi.py", *arguments]
        done = subprocess.run(command, cwd=WORK, env=self.environment | environment, capture_output=True, text=True)
        if done.returncode and arguments[0] == "db":
            raise SystemExit(done.stdout + done.stderr)
        return done

    def ready(self) -> bool:
        try:
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5).status == 200)
        except OSError:
            return False
