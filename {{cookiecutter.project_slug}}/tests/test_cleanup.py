"""Clean-up: what has expired goes, with all that refers to it, and nothing else does."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from engines import Engine
from flask import Flask
from sqlalchemy import func, select, update
from support import MakeApp, ScriptedModel, Visitor, work_off

from app import jobs
from app.accounts.models import UserSession
from app.chat.models import Conversation, Message, Run, RunStatus
from app.database import now, transaction
from app.operations import cleanup


def _age(app: Flask, days: float, column: str, **where: object) -> None:
    with app.app_context(), transaction() as session:
        session.execute(update(Conversation).filter_by(**where).values({column: now() - timedelta(days=days)}))


def test_a_deleted_conversation_goes_with_its_messages_after_its_time(
    app: Flask, ada: Visitor, scripted: ScriptedModel
) -> None:
    for answer in ("stays", "recently deleted", "long deleted"):
        scripted.answer(answer)
        ada.ask(answer).page()
    _age(app, 2, "deleted_at", title="recently deleted")
    _age(app, 31, "deleted_at", title="long deleted")
    with app.app_context():
        assert cleanup.clean(dry_run=True)["deleted conversations"] == 1
        assert cleanup.clean()["deleted conversations"] == 1
        assert cleanup.clean()["deleted conversations"] == 0
    assert sorted(ada.rows(select(Conversation.title))) == ["recently deleted", "stays"]
    assert sorted(ada.rows(select(Message.text).where(Message.role == "user"))) == ["recently deleted", "stays"]
    assert len(ada.rows(select(Run.id))) == 2


def test_unused_conversations_and_old_runs_go_only_where_settings_say_so(
    make_app: MakeApp, ada: Visitor, scripted: ScriptedModel
) -> None:
    scripted.answer("old")
    ada.ask("old").page()
    _age(ada.app, 400, "updated_at")
    with ada.app.app_context(), transaction() as session:
        session.execute(update(Run).values(finished_at=now() - timedelta(days=400)))
    with make_app().app_context():
        assert sum(cleanup.clean().values()) == 0
    with make_app(keep_runs_days=365).app_context():
        assert cleanup.clean()["runs"] == 1
    with make_app(keep_conversations_days=365).app_context():
        assert cleanup.clean()["unused conversations"] == 1


def test_many_rows_go_in_batches(app: Flask, ada: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "MOST_ROWS", 20)
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    with app.app_context():
        with transaction() as session:
            old = now() - timedelta(days=8)
            session.add_all(UserSession(token_hash=str(i), user_id=ada.user_id, last_seen_at=old) for i in range(100))
        assert cleanup.clean()["sessions"] == 100
        with transaction() as session:
            assert session.scalar(select(func.count()).select_from(UserSession)) == 1
    assert len(pauses) >= 5


def test_the_command_reports_and_needs_no_setting_of_the_web_process(
    app: Flask, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _age(app, 31, "deleted_at")
    for name, value in (engine.environment | {"DATA_DIR": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    for options in (["--dry-run"], []):
        result = CliRunner().invoke(cleanup.command, options)
        assert result.exit_code == 0, result.output
        assert "deleted conversations" in result.output


def test_the_schedule_cleans_up_and_closes_runs_of_dead_processes(app: Flask, ada: Visitor) -> None:
    asked = ada.ask("left alone")
    _age(app, 31, "deleted_at")
    with app.app_context():
        with transaction() as session:
            session.execute(update(Run).values(worker="elsewhere/1/x", heartbeat_at=now() - timedelta(minutes=2)))
        jobs.queue().send(cleanup.close_stale_runs)
        work_off(app)
        assert ada.rows(select(Run.status)) == [RunStatus.INTERRUPTED]
        jobs.queue().tick(now())
        work_off(app)
    assert ada.get(asked.conversation).status_code == 404
    assert ada.rows(select(Conversation.id)) == []
