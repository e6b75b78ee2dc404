"""A generated project installs, keeps its own checks and tests, and answers over HTTP."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest
from conftest import render_into
from projects import Visitor, clean_environment, make, run, served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default project, set up."""
    project = render_into(tmp_path_factory.mktemp("project"))
    make(project, "setup")
    return project


def test_setup_may_be_run_twice_and_keeps_what_it_made(project: Path) -> None:
    before = {name: (project / name).read_bytes() for name in (".env", "uv.lock")}
    make(project, "setup")
    assert {name: (project / name).read_bytes() for name in before} == before
    key = re.findall(r"^SECRET_KEY=(.+)$", before[".env"].decode(), re.MULTILINE)[0]
    assert len(key) >= 64
    assert (project / ".env").stat().st_mode & 0o077 == 0


def test_its_own_checks_pass_as_rendered(project: Path) -> None:
    assert "No changes detected" in make(project, "check")


@pytest.mark.parametrize(
    ("file", "mistake", "said"),
    [
        ("templates/error.html", "<a href=>", "H005|H025"),
        ("static/js/http.js", "if (location.hash = 1) location.reload();", "no-cond-assign"),
        ("static/js/http.js", 'import { nothing } from "./store.js";', "nothing"),
    ],
)
def test_its_own_checks_read_templates_and_scripts(project: Path, file: str, mistake: str, said: str) -> None:
    path = project / "src/app" / file
    before = path.read_text("utf-8")
    path.write_text(f"{mistake}\n{before}", "utf-8")
    try:
        with pytest.raises(AssertionError, match=said):
            make(project, "check")
    finally:
        path.write_text(before, "utf-8")


def servers(project: Path) -> list[str]:
    """The tiers that its Makefile runs one after another: on real servers, real services and in a real browser."""
    return re.findall(r"^SERVERS := (.*)$", (project / "Makefile").read_text(), re.MULTILINE)[0].split()


def test_its_own_fast_tests_pass_on_both_engines(project: Path) -> None:
    own_tests_pass(project, "-n", "auto", "--engine", "both", *(f"--ignore={tier}" for tier in servers(project)))


def test_its_own_tests_on_real_parts_pass(project: Path) -> None:
    own_tests_pass(project, "-n", "2", "--dist", "loadfile", *servers(project))


def own_tests_pass(project: Path, *arguments: str) -> None:
    """What fails is run once more by itself: some tests compare times, on whatever else the machine does."""
    command = (str(project / ".venv/bin/python"), "-m", "pytest", "-q", *arguments)
    try:
        said = run(project, *command)
    except AssertionError as failure:
        print(failure)
        said = run(project, *command, "-n", "0", "--last-failed", "--last-failed-no-failures", "none")
    passed_without_a_skip(said)


def passed_without_a_skip(said: str) -> None:
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


def test_make_run_serves_sign_up_and_a_streamed_answer(project: Path) -> None:
    with served(project) as url:
        assert url in (project / "run.log").read_text()
        visitor = Visitor(url)
        visitor.sign_up()
        words, last = visitor.ask("count to 12")
        assert words.split()[:3] == ["one", "two", "three"]
        assert last == "done"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            visitor.get(f"/chat/{uuid.uuid4()}")


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
