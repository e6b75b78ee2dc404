"""Generated projects that are installed, run and asked over HTTP as their team would."""

from __future__ import annotations

import atexit
import http.cookiejar
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Whenever pytest starts it closes the folder of all its runs to others: to the PostgreSQL of a project that lies there.
TEMPORARY = tempfile.mkdtemp(prefix="projects-")
atexit.register(shutil.rmtree, TEMPORARY, ignore_errors=True)


def clean_environment() -> dict[str, str]:
    """Without the virtual environment the tests themselves run in, and with other temporary files."""
    ours = os.environ.get("VIRTUAL_ENV", "")
    path = [folder for folder in os.environ["PATH"].split(os.pathsep) if not ours or not folder.startswith(ours)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "PYTEST", "UV_"))}
    return kept | {"PATH": os.pathsep.join(path), "PYTEST_DEBUG_TEMPROOT": TEMPORARY}


def make(project: Path, *targets: str, **environment: str) -> str:
    return run(project, "make", "--no-print-directory", *targets, **environment)


def run(project: Path, *command: str, **environment: str) -> str:
    process = subprocess.run(
        command,
        cwd=project,
        env=clean_environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout[-8000:]
    return process.stdout


def pythons() -> dict[tuple[int, int], str]:
    """Every usable Python from 3.11 on that this machine has, by version: on PATH, under pyenv, or managed by uv."""
    found = {}
    homes = [Path.home() / ".pyenv/versions", Path.home() / ".local/share/uv/python"]
    managed = [str(path) for home in homes for path in sorted(home.glob("*3.*/bin/python3"))]
    for candidate in [*managed, *filter(None, (shutil.which(f"python3.{minor}") for minor in range(11, 20)))]:
        answer = subprocess.run(
            [candidate, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0:
            major, minor = map(int, answer.stdout.split())
            found[major, minor] = candidate
    return {version: path for version, path in sorted(found.items()) if version >= (3, 11)}


@contextmanager
def served(project: Path, **environment: str) -> Iterator[str]:
    """``make run``, until it answers; Ctrl-C ends it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (project / "run.log").open("wb") as log:
        process = subprocess.Popen(
            ["make", "--no-print-directory", "run"],
            cwd=project,
            env=clean_environment() | {"PORT": str(port)} | environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{url}/readyz")
                break
            except OSError:
                assert process.poll() is None, (project / "run.log").read_text()
                assert time.monotonic() < deadline, (project / "run.log").read_text()
                time.sleep(0.1)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
        (project / "run.log").unlink()


class Visitor:
    """A browser without a screen: cookies, and the CSRF token that every form needs."""

    def __init__(self, url: str):
        self.url = url
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def get(self, path: str) -> str:
        return str(self.opener.open(self.url + path).read().decode())

    def post(self, path: str, accept: str = "application/json", **form: str) -> str:
        ask = urllib.request.Request(f"{self.url}/account/csrf", headers={"Accept": "application/json"})
        token = json.load(self.opener.open(ask))["token"]
        request = urllib.request.Request(
            self.url + path, urllib.parse.urlencode(form).encode(), {"Accept": accept, "X-CSRFToken": token}
        )
        return str(self.opener.open(request).read().decode())

    def sign_up(self) -> None:
        self.post(
            "/register", "text/html", email=f"ada-{uuid.uuid4().hex}@example.com", password="correct horse battery"
        )

    def ask(self, question: str) -> tuple[str, str]:
        """The streamed text and the kind of the last event."""
        body = json.loads(self.post("/chat", text=question, client_key=str(uuid.uuid4())))
        stream = self.get(re.findall(r'data-events="([^"]+)"', body["messages"])[0])
        words = "".join(
            json.loads(line.removeprefix("data: ")).get("append", "")
            for line in stream.splitlines()
            if line.startswith("data: ")
        )
        return words, re.findall(r"^event: (\w+)$", stream, re.MULTILINE)[-1]
