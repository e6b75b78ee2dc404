"""``flask ready``: what is asked, what is found, and one red line for one thing that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from checklist_table import as_markdown
from click.testing import CliRunner, Result
from engines import Engine
from flask import Flask
from sqlalchemy import text
from support import PAGE, Visitor

from app import jobs
from app.accounts.models import User
from app.database import db, now
from app.operations import readiness
from app.operations.readiness import CHECKLIST, checks

ROOT = Path(__file__).parents[1]
Ready = Callable[..., Result]
KINDS = ("variables", "probe", "query", "sql", "made")


@pytest.fixture
def ready(app: Flask, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ready:
    """Runs ``flask ready`` as of a deployment where all is well, but for what a test changes."""
    good = {
        "SECRET_KEY": "kx3-0123456789-abcdefghijklmnopqrstuvw",
        "TRUSTED_HOSTS": "chat.example.net",
        "MAIL_URL": "smtp://mail.example.net:587",
        "MODEL": "openai-chat:local",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "DATA_DIR": str(tmp_path),
    }
    for name, value in (good | engine.environment | {"WEB_CONCURRENCY": "1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("FLASK_DEBUG", raising=False)
    with app.app_context():
        jobs.queue().put("beat", now())

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(readiness.command, ["--json", *arguments])

    return run


def red(result: Result) -> list[str]:
    return [row["id"] for row in json.loads(result.stdout) if row["status"] == "fail"]


def test_where_all_is_well_nothing_fails_and_what_was_not_asked_says_why(ready: Ready, engine: Engine) -> None:
    result = ready()
    found = {row["id"]: row for row in json.loads(result.stdout)}
    assert list(found) == list(CHECKLIST["checks"])
    role = ["database-role"] if engine.name == "services" else []  # the tests' own role owns everything
    assert red(result) == [*role, "backup-repository"]
    measured = {"secret-key", "headers", "csrf", "input-validation", "limits", "indexes", "user-journey"}
    assert {found[name]["status"] for name in measured} == {"pass"}
    assert all(row["evidence"] and row["fix"] for row in found.values())
    assert found["certificate"]["status"] == "not measured"
    assert ready("--stage", "post").exit_code == 0
    assert ready("--stage", "post", "--strict").exit_code == 1


SABOTAGES = {
    "environment": ("APP_ENV", "development"),
    "debug": ("FLASK_DEBUG", "1"),
    "secret-key": ("SECRET_KEY", "too-short"),
    "trusted-hosts": ("TRUSTED_HOSTS", ""),
    "mail": ("MAIL_URL", ""),
    "model": ("MODEL", "demo"),
    "push-key": ("VAPID_PRIVATE_KEY", "no key"),
    "telemetry": ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
    "metrics": ("PROMETHEUS_URL", "http://127.0.0.1:9"),
    "alert-receiver": ("ALERTMANAGER_URL", "http://127.0.0.1:9"),
}


@pytest.mark.one_engine
@pytest.mark.parametrize("name", SABOTAGES)
def test_one_bad_setting_turns_one_line_red(ready: Ready, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = set(red(ready()))
    monkeypatch.setenv(*SABOTAGES[name])
    result = ready()
    same_server = {"alerts", "alert-rules"} if name == "metrics" else set()
    assert set(red(result)) - before - same_server == {name}
    assert result.exit_code == 1


@pytest.mark.one_engine
def test_several_processes_need_shared_parts(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    assert {"database-engine", "shared-state"} <= set(red(ready()))


@pytest.mark.parametrize(
    ("name", "statement"),
    [("migrations", "DELETE FROM alembic_version"), ("indexes", "DROP INDEX ix_conversations_updated_at")],
)
def test_a_database_that_is_not_as_it_should_be(
    ready: Ready, app: Flask, request: pytest.FixtureRequest, name: str, statement: str
) -> None:
    with app.app_context(), db.engines["migrator"].begin() as connection:
        version = connection.scalar(text("SELECT version_num FROM alembic_version"))
        connection.execute(text(statement))
    try:
        assert name in red(ready("--stage", "pre"))
    finally:  # the next test on this database finds it as it was
        with app.app_context(), db.engines["migrator"].begin() as connection:
            if name == "migrations":
                connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": version})
            else:
                connection.execute(text("CREATE INDEX ix_conversations_updated_at ON conversations (updated_at)"))


@pytest.mark.one_engine
@pytest.mark.parametrize(
    ("name", "made", "age"),
    [("backup-age", "backup", timedelta(days=3)), ("restore-drill", "drill", timedelta(days=40)),
     ("load-test", "load-test", timedelta(days=100)), ("background-jobs", "beat", timedelta(hours=1))],
)  # fmt: skip
def test_what_was_done_too_long_ago(ready: Ready, app: Flask, name: str, made: str, age: timedelta) -> None:
    with app.app_context():
        jobs.queue().put(made, now() - age if made == "beat" else {"at": now() - age})
    result = ready()
    assert name in red(result)
    assert result.exit_code == 1


@pytest.mark.one_engine
def test_a_proxy_that_drops_a_header_is_noticed(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.security.headers._complete", lambda response: response)
    assert red(ready("--stage", "pre")) == ["headers"]


@pytest.mark.one_engine
def test_nobody_is_left_behind_by_the_journey(ready: Ready, app: Flask) -> None:
    ready("--stage", "post")
    with app.app_context():
        assert db.session.query(User).count() == 0


def test_it_may_be_asked_again_and_again(ready: Ready) -> None:
    """Its own attempts to sign in, which are to be refused, do not count against its own journey."""
    assert "user-journey" not in [name for _ in range(4) for name in red(ready())]


@pytest.mark.one_engine
def test_operators_see_the_last_result(ready: Ready, app: Flask, ada: Visitor) -> None:
    ready()
    assert ada.get("/admin/readiness", PAGE).status_code == 404
    with app.app_context():
        db.session.query(User).update({"is_admin": True})
        db.session.commit()
    page = ada.get("/admin/readiness", PAGE).text
    assert "user-journey" in page
    assert "RESTIC_REPOSITORY is not set" in page


def test_every_check_can_be_asked_and_belongs_to_a_line() -> None:
    for name, row in CHECKLIST["checks"].items():
        assert row["item"] in CHECKLIST["items"], name
        assert row["stage"] in ("pre", "deploy", "post")
        assert any(kind in row for kind in KINDS) != hasattr(checks, name.replace("-", "_")), name
        assert set(row.get("needs", ())) <= set(CHECKLIST["checks"])


def test_every_alert_is_asked_for() -> None:
    groups = yaml.safe_load((ROOT / "monitoring/prometheus/alerts.yml").read_text("utf-8"))["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert set(CHECKLIST["checks"]["alert-rules"]["alerts"]) == alerts


def test_the_documented_checklist_is_the_one_in_the_code_and_cites_what_exists() -> None:
    assert (ROOT / "docs/checklist.md").read_text("utf-8") == as_markdown(), "run make docs"
    for item, (_, code, test) in CHECKLIST["items"].items():
        for path, _, function in (code.partition("::"), test.partition("::")):
            assert (ROOT / path).exists(), (item, path)
            assert not function or f"def {function}(" in (ROOT / path).read_text("utf-8"), (item, function)
