"""What tests share: an application on a fresh SQLite file, people who use it, and a model that says what it is told."""

from __future__ import annotations

import secrets
import smtplib
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from engines import Embedded, Engine, Services, running_services
from flask import Flask
from jinja2 import BytecodeCache, FileSystemBytecodeCache
from mails import Outbox
from pydantic_ai import models
from support import MakeApp, ScriptedModel, Visitor

from app import create_app
from app.config import Settings
from app.database import db

models.ALLOW_MODEL_REQUESTS = False
hypothesis.settings.register_profile("any-machine", deadline=None, derandomize=True)
hypothesis.settings.load_profile("any-machine")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads the developer's .env or environment."""
    for name in (*Settings.model_fields, "openai_api_key", "logfire_token"):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", choices=("embedded", "services", "both"), default="embedded", help="what to stand on")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """With ``--engine both`` every test of an application runs twice: on SQLite and memory, on PostgreSQL and Redis;
    but for those marked ``one_engine``, to whose subject the engine makes no difference."""
    chosen = metafunc.config.getoption("engine")
    once = any(metafunc.definition.iter_markers("one_engine"))
    if "engine" in metafunc.fixturenames and chosen != "embedded" and not once:
        names = ("embedded", "services") if chosen == "both" else (chosen,)
        metafunc.parametrize("engine", names, indirect=True, scope="session")


def settings_for(folder: Path, **changes: object) -> Settings:
    values = {"app_env": "development", "secret_key": secrets.token_urlsafe(48), "data_dir": folder, "model": "demo"}
    values |= {"run_timeout_seconds": 20}
    return Settings.model_validate(values | changes)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that the migrations have made; copied for each test."""
    folder = tmp_path_factory.mktemp("migrated")
    app = create_app(settings_for(folder))
    with app.app_context():
        app.extensions["alembic"].upgrade()
    return folder / "app.db"


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A real PostgreSQL, which the migrations have made, and a real Redis."""
    with running_services() as (database_url, redis_url):
        engine = Services(database_url, redis_url)
        app = create_app(settings_for(tmp_path_factory.mktemp("services"), **engine.settings))
        with app.app_context():
            app.extensions["alembic"].upgrade()
        yield engine
        engine.database.dispose()
        engine.redis.close()


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> Engine:
    """What the application of a test stands on."""
    if getattr(request, "param", "embedded") == "services":
        return request.getfixturevalue("services")
    return Embedded(request.getfixturevalue("migrated"))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> BytecodeCache:
    """Templates, compiled once for all applications."""
    return FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))


@pytest.fixture
def cheap_passwords() -> bool:
    """Whether hashing a password costs next to nothing; a test of its cost overrides this."""
    return True


@pytest.fixture
def make_app(
    tmp_path: Path, engine: Engine, scripted: ScriptedModel, cheap_passwords: bool, compiled: BytecodeCache
) -> Iterator[MakeApp]:
    """Makes applications on the test's own database, with the scripted model."""
    made: list[Flask] = []
    engine.prepare(tmp_path)

    def make(**changes: object) -> Flask:
        app = create_app(settings_for(tmp_path, **(engine.settings | changes)))
        app.extensions["model"] = scripted.model
        app.jinja_env.bytecode_cache = compiled
        if cheap_passwords:
            app.extensions["security"].pwd_context.update(argon2__memory_cost=8, argon2__time_cost=1)
        made.append(app)
        return app

    yield make
    for app in made:
        scripted.finish()
        app.extensions["runner"].begin_drain()
        app.extensions["runner"].finish_drain(0)
        if "jobs" in app.extensions:
            app.extensions["jobs"].storage.close()
        with app.app_context():
            for name in ("default", "migrator"):
                db.engines[name].dispose()


@pytest.fixture
def scripted() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
def outbox(monkeypatch: pytest.MonkeyPatch) -> Outbox:
    outbox = Outbox()
    monkeypatch.setattr(smtplib, "SMTP", outbox)
    return outbox


@pytest.fixture
def production(make_app: MakeApp) -> Flask:
    return make_app(app_env="production", mail_url="smtp://mail.example:25")


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app()


@pytest.fixture
def ada(app: Flask) -> Visitor:
    return Visitor.signed_in(app, "ada@example.com")


@pytest.fixture
def bob(app: Flask) -> Visitor:
    return Visitor.signed_in(app, "bob@example.com")
