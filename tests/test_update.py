"""An old project follows the template: ``cruft update`` from every version before this one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import TEMPLATE
from projects import clean_environment, make

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


def releases() -> dict[str, str]:
    """The commit that set each version of the template, oldest first; the version being worked on is not among them."""
    found: dict[str, str] = {}
    for commit in git(TEMPLATE, "log", "--reverse", "--format=%H", "--", "cookiecutter.json").splitlines():
        version = json.loads(git(TEMPLATE, "show", f"{commit}:cookiecutter.json"))["__template_version"]
        found.setdefault(version, commit)
    current = json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8"))["__template_version"]
    return {version: commit for version, commit in found.items() if version != current}


def created(folder: Path, commit: str) -> Path:
    """A project of an older version, in a repository of its own."""
    cruft(folder, "create", str(TEMPLATE), "--checkout", commit, "--no-input")
    project = folder / "chat-assistant"
    git(project, "init", "--quiet")
    committed(project, "Generated")
    return project


def committed(project: Path, message: str) -> None:
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", message)


def edit(project: Path, path: str, old: str, new: str) -> None:
    text = (project / path).read_text("utf-8")
    assert old in text, f"{old!r} in {path}"
    (project / path).write_text(text.replace(old, new, 1), "utf-8")


def edit_as_a_team_would(project: Path) -> None:
    """A tool, other instructions, a page with a model and a migration, a dependency, a README of their own."""
    add_tool(project)
    edit(project, "src/app/chat/agent.py", "Answer briefly and correctly", "Answer at length and correctly")
    edit(project, "README.md", "make run ", "make run  # ours")
    (project / "src/app/pages/notes.py").write_text(NOTES, "utf-8")
    (project / "tests").mkdir(exist_ok=True)
    (project / "tests/test_notes.py").write_text(NOTES_TEST, "utf-8")
    make(project, "setup")
    uv(project, "run", "--no-sync", "flask", "db", "revision", "Notes")
    make(project, "format")
    if "own = [" in (project / "pyproject.toml").read_text("utf-8"):  # else the changelog says: add it afterwards
        uv(project, "add", "--quiet", "--group", "own", "tomli-w>=1.0")
    make(project, "setup", "check")
    committed(project, "Ours")


TOOL = '''

def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


TOOLS.append(double)
'''


def add_tool(project: Path) -> None:
    with (project / "src/app/chat/tools.py").open("a", encoding="utf-8") as file:
        file.write(TOOL)


NOTES = '''"""Notes that people keep."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy import ForeignKey, String, func, select
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Model, db, new_id
from app.security.access import PUBLIC, Route


class Note(Model):
    __tablename__ = "notes"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    text: Mapped[str] = mapped_column(String(200))


bp = Blueprint("notes", __name__)
ACCESS = (Route("notes.count", "GET", PUBLIC),)


@bp.get("/notes")
def count() -> ResponseReturnValue:
    return jsonify(count=db.session.scalar(select(func.count()).select_from(Note)))
'''
NOTES_TEST = '''"""Notes."""

from __future__ import annotations

from flask import Flask


def test_notes_are_counted(app: Flask) -> None:
    assert app.test_client().get("/notes").json == {"count": 0}
'''


def uv(project: Path, *arguments: str) -> str:
    process = subprocess.run(
        ["uv", *arguments], cwd=project, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def team_owned(project: Path) -> list[str]:
    return list(tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["tool"]["cruft"]["skip"])


@pytest.mark.parametrize("version", releases())
def test_an_unchanged_project_becomes_what_would_be_generated_today(tmp_path: Path, version: str) -> None:
    project = created(tmp_path, releases()[version])
    cruft(project, "update", "--skip-apply-ask", "--checkout", "HEAD")
    assert list(project.rglob("*.rej")) == []
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    cruft(fresh, "create", str(TEMPLATE), "--checkout", "HEAD", "--no-input")
    names = [path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file() and path.name != ".cruft.json"]
    kept = team_owned(fresh / "chat-assistant") if version != "0.1.0" else []
    for name in names:
        if not any(name.relative_to("chat-assistant").is_relative_to(owned) for owned in kept):
            assert (tmp_path / name).read_bytes() == (fresh / name).read_bytes(), name


@pytest.mark.drill
@pytest.mark.parametrize("version", releases())
def test_a_project_with_a_teams_edits_updates_and_passes_its_tests(tmp_path: Path, version: str) -> None:
    project = created(tmp_path, releases()[version])
    edit_as_a_team_would(project)
    cruft(project, "update", "--skip-apply-ask", "--checkout", "HEAD")
    conflicts = {str(path.relative_to(project)).removesuffix(".rej") for path in project.rglob("*.rej")}
    conflicts |= set(git(project, "diff", "--name-only", "--diff-filter=U").splitlines())
    ours = tuple(team_owned(project))
    assert [name for name in conflicts if not name.startswith(ours)] == []
    for name in conflicts:  # what is ours is merged by hand: the new example, and our tool
        git(project, "checkout", "--quiet", "--theirs", "--", name)
        if name.endswith("tools.py"):
            add_tool(project)
    uv(project, "lock", "--quiet")
    make(project, "setup")
    uv(project, "run", "--no-sync", "flask", "db", "merge", "-m", "Merge")
    make(project, "format")
    assert "No changes detected" in make(project, "check")
    said = make(project, "test-fast")
    assert re.search(r"\b\d+ passed", said)
    assert "def double" in (project / "src/app/chat/tools.py").read_text("utf-8")
    assert "Answer at length" in (project / "src/app/chat/agent.py").read_text("utf-8")


def test_nothing_secret_or_random_is_recorded(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        cruft(tmp_path / folder, "create", str(TEMPLATE), "--no-input")
    recorded = [
        json.loads((tmp_path / folder / "chat-assistant/.cruft.json").read_text()) for folder in ("first", "second")
    ]
    assert recorded[0] == recorded[1]
