"""Spawns servers, drives them and reads what they cost from the operating system.

Figures are ratios of CPU seconds between servers measured in one run, in turns (A B A B ...), medians of the rounds:
these machines are shared, so times of one run say nothing about another.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from cookiecutter.main import cookiecutter

HERE = Path(__file__).parent
WORK = HERE.parent / ".bench"


@dataclass
class Figure:
    """One measured number, with its goal (``<= N`` or ``>= N``) if it has one."""

    scenario: str
    figure: float
    goal: str
    rounds: int
    baseline: str

    @property
    def met(self) -> bool:
        relation, limit = self.goal.split()
        return self.figure <= float(limit) if relation == "<=" else self.figure >= float(limit)


def project() -> Path:
    """The default project, installed; kept between runs and rendered anew in each."""
    WORK.mkdir(exist_ok=True)
    path = Path(cookiecutter(str(HERE.parent), no_input=True, overwrite_if_exists=True, output_dir=str(WORK)))
    subprocess.run(["make", "--no-print-directory", "setup"], cwd=path, check=True, stdout=subprocess.DEVNULL)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """One or more processes of one kind; ``ports`` are where they listen, if they do."""

    processes: list[subprocess.Popen[str]]
    ports: list[int] = field(default_factory=list)
    accounts: list[list[tuple[str, str, str]]] = field(default_factory=list)

    def cpu(self) -> float:
        """CPU seconds used so far, of the processes and their children."""
        total = 0.0
        for process in self.processes:
            parent = psutil.Process(process.pid)
            for each in (parent, *parent.children(recursive=True)):
                times = each.cpu_times()
                total += times.user + times.system
        return total

    def pss(self) -> float:
        """Proportional set size in MB, of the processes and their children."""
        total = 0
        for process in self.processes:
            parent = psutil.Process(process.pid)
            total += sum(each.memory_full_info().pss for each in (parent, *parent.children(recursive=True)))
        return total / 1e6


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


class Lab:
    """Where servers run: the project's own interpreter, with this folder on its path."""

    def __init__(self, path: Path):
        self.project = path
        self.python = str(path / ".venv/bin/python")

    def environment(self, **changes: str) -> dict[str, str]:
        kept = {"HOME": os.environ["HOME"], "PATH": f"{self.project / '.venv/bin'}:{os.environ['PATH']}"}
        return kept | {"PYTHONPATH": f"{HERE}:{HERE / 'baselines'}", "BENCH_PROJECT": str(self.project)} | changes

    def settings(self, folder: Path) -> dict[str, str]:
        """The environment of an application of its own in *folder*."""
        return {
            "APP_ENV": "development",
            "SECRET_KEY": "bench-0123456789-abcdefghijklmnopqrstuv",
            "DATA_DIR": str(folder),
            "MAX_RUNS": "5000",
            "MODEL": "demo",
            "MALLOC_ARENA_MAX": "2",  # as in the image
        }

    def spawn(self, *command: str, cwd: Path = HERE, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.python, *command],
            cwd=cwd,
            env=self.environment(**environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if command[0].endswith("agent_alone.py") else subprocess.DEVNULL,
            text=True,
        )

    @contextmanager
    def running(self, server: Server) -> Iterator[Server]:
        for port in server.ports:
            wait_for(port)
        try:
            yield server
        finally:
            for process in server.processes:
                process.terminate()
            for process in server.processes:
                process.communicate()

    @contextmanager
    def app(self, count: int, people: int, **settings: str) -> Iterator[Server]:
        """*count* servers of the generated application, of one worker each, with their own databases and accounts."""
        folders = [Path(tempfile.mkdtemp(prefix="bench-")) for _ in range(count)]
        server = Server([])
        try:
            for folder in folders:
                port = free_port()
                environment = self.settings(folder) | {"PORT": str(port)} | settings
                arguments = {"cwd": folder, "env": self.environment(**environment), "check": True}
                flask = [self.python, "-m", "flask", "--app", str(self.project / "wsgi.py"), "db", "upgrade"]
                subprocess.run(flask, **arguments)
                made = subprocess.run(
                    [self.python, str(HERE / "accounts.py"), str(people)], **arguments, capture_output=True, text=True
                )
                server.accounts.append([tuple(json.loads(line)) for line in made.stdout.splitlines()])
                server.ports.append(port)
                configuration = str(self.project / "gunicorn.conf.py")
                server.processes.append(
                    self.spawn("-m", "gunicorn", "-c", configuration, "app_server:app", cwd=folder, **environment)
                )
            with self.running(server):
                yield server
        finally:
            for folder in folders:
                shutil.rmtree(folder)

    @contextmanager
    def redis(self) -> Iterator[str]:
        """The address of a Redis, whose own cost is not counted."""
        port = free_port()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with self.running(Server([process], [port])):
            yield f"redis://127.0.0.1:{port}/0"


def alternate(rounds: int, **variants: Callable[[], float]) -> dict[str, float]:
    """The median of each variant over *rounds*, measured in turns."""
    results: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds):
        for name, measure in variants.items():
            results[name].append(measure())
        print(
            f"  round {number + 1}: " + ", ".join(f"{n} {values[-1]:.4g}" for n, values in results.items()), flush=True
        )
    return {name: statistics.median(values) for name, values in results.items()}


def report(figures: list[Figure]) -> None:
    """Print the table and keep it in ``latest.json``, beside what other scenarios left there."""
    latest = HERE / "latest.json"
    kept = json.loads(latest.read_text("utf-8")) if latest.exists() else []
    names = {figure.scenario for figure in figures}
    rows = [row for row in kept if row["scenario"] not in names] + [
        vars(figure) | {"figure": round(figure.figure, 3)} for figure in figures
    ]
    latest.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    print(f"\n{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for figure in figures:
        mark = "met   " if figure.met else "MISSED"
        print(f"{mark} {figure.figure:8.2f}  {figure.goal:8}  {figure.scenario} (against {figure.baseline})")
