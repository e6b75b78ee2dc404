"""An old project follows the template: ``cruft update`` from the first version that rendered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TEMPLATE

pytestmark = pytest.mark.slow


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def cruft(folder: Path, *arguments: str) -> str:
    process = subprocess.run(
        [sys.executable, "-m", "cruft", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout
    return process.stdout


def first_version() -> str:
    return git(TEMPLATE, "log", "--reverse", "--format=%H", "--", "cookiecutter.json").splitlines()[0]


def test_an_unchanged_project_of_the_first_version_updates_without_a_conflict(tmp_path: Path) -> None:
    cruft(tmp_path, "create", str(TEMPLATE), "--checkout", first_version(), "--no-input")
    project = tmp_path / "chat-assistant"
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Generated")
    cruft(project, "update", "--skip-apply-ask", "--checkout", "HEAD")
    assert list(project.rglob("*.rej")) == []
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    cruft(fresh, "create", str(TEMPLATE), "--checkout", "HEAD", "--no-input")
    names = [path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file() and path.name != ".cruft.json"]
    for name in names:
        assert (tmp_path / name).read_bytes() == (fresh / name).read_bytes(), name


def test_nothing_secret_or_random_is_recorded(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        cruft(tmp_path / folder, "create", str(TEMPLATE), "--no-input")
    recorded = [
        json.loads((tmp_path / folder / "chat-assistant/.cruft.json").read_text()) for folder in ("first", "second")
    ]
    assert recorded[0] == recorded[1]
