"""Backups by restic: made, checked, restored and used; each failure says what to do."""

from __future__ import annotations

import fcntl
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from sqlalchemy import make_url, select, text
from support import MakeApp, ScriptedModel, Visitor, missing, work_off

from app import jobs
from app.chat.models import Conversation
from app.database import db, transaction
from app.operations import backup, dumps

Flasks = Callable[..., Result]

pytestmark = pytest.mark.one_engine  # these tests name the file


@pytest.fixture(autouse=True)
def restic() -> None:
    if not shutil.which("restic"):
        missing("restic is missing; `apt-get install restic` brings it")


@pytest.fixture
def flask_backup(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flasks:
    """Runs ``flask backup`` on the test's data, with nothing set that it does not use."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("RESTIC_REPOSITORY", str(tmp_path / "repository"))
    monkeypatch.setenv("RESTIC_PASSWORD", "kept apart")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(backup.group, arguments)

    return run


def _wipe(app: Flask, folder: Path) -> None:
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose()
    for path in folder.glob("app.db*"):
        path.unlink()
    shutil.rmtree(folder / "avatars")


def test_what_is_wiped_is_restored_row_by_row_and_file_by_file(
    app: Flask, ada: Visitor, scripted: ScriptedModel, tmp_path: Path, flask_backup: Flasks
) -> None:
    scripted.answer("an answer")
    ada.ask("a question").page()
    (tmp_path / "avatars").mkdir()
    (tmp_path / "avatars" / "ada.png").write_bytes(b"a picture")
    database = make_url(f"sqlite:///{tmp_path / 'app.db'}")
    before = dumps.hashes(database)
    assert before["messages"].startswith("2:")
    assert flask_backup("create").exit_code == 0
    made = flask_backup("list").output.split()[0]
    refused = flask_backup("restore")
    assert refused.exit_code == 1
    assert "--yes" in refused.output
    _wipe(app, tmp_path)
    restored = flask_backup("restore", made, "--yes")
    assert restored.exit_code == 0, restored.output
    assert dumps.hashes(database) == before
    assert (tmp_path / "avatars" / "ada.png").read_bytes() == b"a picture"
    assert "an answer" in ada.get(f"/chat/{ada.rows(select(Conversation.id))[0]}").text


def test_a_restore_into_nothing_needs_no_yes(
    app: Flask, ada: Visitor, tmp_path: Path, flask_backup: Flasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert flask_backup("create").exit_code == 0
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "new"))
    restored = flask_backup("restore")
    assert restored.exit_code == 0, restored.output
    assert dumps.hashes(make_url(f"sqlite:///{tmp_path / 'new' / 'app.db'}"))["users"].startswith("1:")


def test_a_backup_is_of_one_moment_whoever_writes_meanwhile(
    app: Flask, ada: Visitor, tmp_path: Path, flask_backup: Flasks
) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with app.app_context(), transaction() as session:  # two tables that always say the same
                session.execute(text("UPDATE users SET fs_uniquifier = :n"), {"n": str(number)})
                session.execute(text("UPDATE user_sessions SET user_agent = :n"), {"n": str(number)})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            assert flask_backup("create").exit_code == 0
    finally:
        stop.set()
        writer.join()
    for made in (line.split()[0] for line in flask_backup("list").output.splitlines()):
        assert flask_backup("restore", made, "--yes").exit_code == 0
        with app.app_context(), transaction() as session:
            both = session.execute(text("SELECT fs_uniquifier, user_agent FROM users, user_sessions")).one()
        assert both[0] == both[1] != ""


def test_one_broken_byte_is_found(app: Flask, ada: Visitor, tmp_path: Path, flask_backup: Flasks) -> None:
    assert flask_backup("create").exit_code == 0
    assert flask_backup("verify").exit_code == 0
    pack = max((tmp_path / "repository" / "data").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    pack.chmod(0o600)
    pack.write_bytes(pack.read_bytes()[:-40] + bytes(40))
    found = flask_backup("verify")
    assert found.exit_code == 1
    assert "the repository is damaged" in found.output


def test_failures_say_what_to_do(flask_backup: Flasks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "flask backup create" in flask_backup("list").output
    assert flask_backup("create").exit_code == 0
    monkeypatch.setenv("RESTIC_PASSWORD", "another")
    assert "RESTIC_PASSWORD is not the one" in flask_backup("create").output
    monkeypatch.setenv("RESTIC_PASSWORD", "")
    assert "RESTIC_PASSWORD must" in flask_backup("create").output
    monkeypatch.setenv("RESTIC_PASSWORD", "kept apart")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "restic is not installed: apt-get" in flask_backup("create").output
    monkeypatch.undo()


def test_only_one_backup_or_restore_is_at_work(tmp_path: Path, flask_backup: Flasks) -> None:
    with (tmp_path / ".backup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another backup" in flask_backup("create").output
    assert flask_backup("create").exit_code == 0


def test_what_a_killed_backup_left_is_cleared_away(tmp_path: Path, flask_backup: Flasks) -> None:
    (tmp_path / ".backup" / "files").mkdir(parents=True)
    assert flask_backup("create").exit_code == 0
    assert not (tmp_path / ".backup").exists()


def test_old_backups_are_let_go(flask_backup: Flasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTIC_KEEP", "--keep-last 2")
    for _ in range(3):
        assert flask_backup("create").exit_code == 0
    assert len(flask_backup("list").output.splitlines()) == 2


@pytest.mark.parametrize("empty", [True, False])
def test_the_drill_restores_signs_in_and_opens_a_conversation(
    app: Flask, scripted: ScriptedModel, flask_backup: Flasks, tmp_path: Path, empty: bool
) -> None:
    if not empty:
        scripted.answer("an answer")
        Visitor.signed_in(app, "ada@example.com").ask("a question").page()
    assert flask_backup("create").exit_code == 0
    before = dumps.hashes(make_url(f"sqlite:///{tmp_path / 'app.db'}"))
    drilled = flask_backup("drill")
    assert drilled.exit_code == 0, drilled.output
    assert "signed in after" in drilled.output
    assert dumps.hashes(make_url(f"sqlite:///{tmp_path / 'app.db'}")) == before


def test_the_schedule_backs_up_when_it_is_due(
    make_app: MakeApp, flask_backup: Flasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_hourly(app: Flask) -> int:
        with app.app_context():
            jobs.queue().send(backup.create_if_due)
        work_off(app)
        return len(flask_backup("list").output.splitlines())

    app = make_app(restic_repository=str(tmp_path / "repository"), restic_password="kept apart")
    assert run_hourly(app) == 1
    assert run_hourly(app) == 1
    with app.app_context():
        made = backup.last()
        assert made is not None
        jobs.queue().put("backup", {"at": made - timedelta(hours=24)})
    assert run_hourly(app) == 2
