"""A generated project installs, keeps its own checks and tests, and answers over HTTP."""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import render_into

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default project, set up."""
    project = render_into(tmp_path_factory.mktemp("project"))
    make(project, "setup")
    return project


def make(project: Path, *targets: str, **environment: str) -> str:
    process = subprocess.run(
        ["make", "--no-print-directory", *targets],
        cwd=project,
        env=clean_environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout[-8000:]
    return process.stdout


def clean_environment() -> dict[str, str]:
    """Without the virtual environment the tests themselves run in."""
    ours = os.environ.get("VIRTUAL_ENV", "")
    path = [folder for folder in os.environ["PATH"].split(os.pathsep) if not ours or not folder.startswith(ours)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "PYTEST", "UV_"))}
    return kept | {"PATH": os.pathsep.join(path)}


def test_setup_may_be_run_twice_and_keeps_what_it_made(project: Path) -> None:
    before = {name: (project / name).read_bytes() for name in (".env", "uv.lock")}
    make(project, "setup")
    assert {name: (project / name).read_bytes() for name in before} == before
    key = re.findall(r"^SECRET_KEY=(.+)$", before[".env"].decode(), re.MULTILINE)[0]
    assert len(key) >= 64
    assert (project / ".env").stat().st_mode & 0o077 == 0


def test_its_own_checks_pass_as_rendered(project: Path) -> None:
    assert "No changes detected" in make(project, "check")


def test_its_own_tests_pass(project: Path) -> None:
    said = make(project, "test")
    print(said[-600:])
    assert re.search(r"\b\d+ passed", said)
    for reason in re.findall(r"SKIPPED.*", said):
        assert "brings" in reason, f"a skip names what brings the missing part: {reason}"
    assert not os.environ.get("CI") or "skipped" not in said


def test_the_same_project_runs_after_a_move(project: Path, tmp_path: Path) -> None:
    """Nothing remembers where it was rendered."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns(".venv", "data", ".*_cache"), symlinks=True)
    make(copy, "setup")
    with served(copy) as url:
        assert b"Chat Assistant" in urllib.request.urlopen(url).read()


@contextmanager
def served(project: Path) -> Iterator[str]:
    """``make run``, until it answers; Ctrl-C ends it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (project / "run.log").open("wb") as log:
        process = subprocess.Popen(
            ["make", "--no-print-directory", "run"],
            cwd=project,
            env=clean_environment() | {"PORT": str(port)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/readyz")
                break
            except OSError:
                assert process.poll() is None, (project / "run.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)
        (project / "run.log").unlink()


def test_make_run_serves_sign_up_and_a_streamed_answer(project: Path) -> None:
    with served(project) as url:
        assert f"{url}" in (project / "run.log").read_text()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

        def token() -> str:
            request = urllib.request.Request(f"{url}/account/csrf", headers={"Accept": "application/json"})
            return str(json.load(opener.open(request))["token"])

        def post(path: str, accept: str, **form: str) -> str:
            headers = {"Accept": accept, "X-CSRFToken": token()}
            data = urllib.parse.urlencode(form).encode()
            return str(opener.open(urllib.request.Request(url + path, data, headers)).read().decode())

        post("/register", "text/html", email="ada@example.com", password="correct horse battery")
        question = {"text": "count to 12", "client_key": str(uuid.uuid4())}
        body = json.loads(post("/chat", "application/json", **question))
        events = re.findall(r'data-events="([^"]+)"', body["messages"])[0]
        stream = opener.open(url + events).read().decode()
        words = "".join(
            json.loads(line.removeprefix("data: ")).get("append", "")
            for line in stream.splitlines()
            if line.startswith("data: ")
        )
        assert words.split()[:3] == ["one", "two", "three"]
        assert "event: done" in stream
        with pytest.raises(urllib.error.HTTPError, match="404"):
            opener.open(f"{url}/chat/{uuid.uuid4()}")


def test_the_pre_commit_hooks_run_offline_and_pass(project: Path) -> None:
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com"]
    subprocess.run([*git, "init", "--quiet"], cwd=project, check=True)
    subprocess.run([*git, "add", "--all"], cwd=project, check=True)
    staged = subprocess.run([*git, "ls-files"], cwd=project, check=True, capture_output=True, text=True).stdout.split()
    assert not {".env", "data/app.db"} & set(staged)
    assert "uv.lock" in staged
    subprocess.run(
        ["uv", "run", "--no-sync", "pre-commit", "run", "--all-files"],
        cwd=project,
        env=clean_environment() | {"PRE_COMMIT_HOME": str(project / ".venv/pre-commit")},
        check=True,
    )
