"""What tests share: an application on a fresh SQLite file, people who use it, and a model that says what it is told."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from flask import Flask
from pydantic_ai import models
from support import MakeApp, ScriptedModel, Visitor

from app import create_app
from app.config import Settings

models.ALLOW_MODEL_REQUESTS = False
hypothesis.settings.register_profile("any-machine", deadline=None, derandomize=True)
hypothesis.settings.load_profile("any-machine")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads the developer's .env or environment."""
    for name in (*Settings.model_fields, "openai_api_key", "logfire_token"):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


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


@pytest.fixture
def make_app(tmp_path: Path, migrated: Path, scripted: ScriptedModel) -> Iterator[MakeApp]:
    """Makes applications on the test's own database, with the scripted model."""
    made: list[Flask] = []
    shutil.copy(migrated, tmp_path / "app.db")

    def make(**changes: object) -> Flask:
        app = create_app(settings_for(tmp_path, **changes))
        app.extensions["model"] = scripted.model
        made.append(app)
        return app

    yield make
    for app in made:
        scripted.finish()
        app.extensions["runner"].finish_drain(0)


@pytest.fixture
def scripted() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app()


@pytest.fixture
def ada(app: Flask) -> Visitor:
    return Visitor.signed_in(app, "ada@example.com")


@pytest.fixture
def bob(app: Flask) -> Visitor:
    return Visitor.signed_in(app, "bob@example.com")
