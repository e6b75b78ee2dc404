"""Settings fail closed, and name every problem with its fix at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from app import config

ROOT = Path(__file__).parents[1]
GOOD_KEY = "kT8x-Qz3vLw9pR2mYb7nHs5cJd1fGa6eUo4iXt0q"


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a production start without any problem."""
    monkeypatch.setenv("SECRET_KEY", GOOD_KEY)
    monkeypatch.setenv("TRUSTED_HOSTS", "chat.company.net")
    monkeypatch.setenv("MAIL_URL", "smtp://mail.company.net:587")
    monkeypatch.setenv("MODEL", "openai:gpt-x")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    return monkeypatch


def problems() -> str:
    with pytest.raises(config.SettingsError) as caught:
        config.load()
    return str(caught.value)


def test_a_complete_production_environment_starts(production: pytest.MonkeyPatch) -> None:
    assert config.load().app_env == "production"


def test_production_is_the_default_and_refuses_everything_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "changeme")
    monkeypatch.setenv("MODEL", "demo")
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    text = problems()
    for name in ("SECRET_KEY", "TRUSTED_HOSTS", "MAIL_URL", "MODEL", "DATABASE_URL"):
        assert f"\n  {name}: " in text
    assert "secrets.token_urlsafe" in text


@pytest.mark.parametrize(
    "key", ["", "tiny", "kT8x-Qz3vLw9pR2mYb7n", "a" * 64, "ab" * 20, "please-change-me-kT8x-Qz3vLw9pR2mYb7n"]
)
def test_a_weak_key_is_refused(production: pytest.MonkeyPatch, key: str) -> None:
    production.setenv("SECRET_KEY", key)
    text = problems()
    assert "SECRET_KEY" in text
    assert not key or key not in text


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("TRUSTED_HOSTS", "chat.example.com", "default domain"),
        ("MODEL", "demo", "for development"),
        ("MODEL", "test", "for development"),
        ("OPENAI_API_KEY", "", "needs this key"),
        ("REPLICAS", "2", "SQLite"),
        ("PORT", "eighty", "valid integer"),
        ("APP_ENV", "prod", "'production' or 'development'"),
    ],
)
def test_each_mistake_is_named(production: pytest.MonkeyPatch, name: str, value: str, complaint: str) -> None:
    production.setenv(name, value)
    text = problems()
    assert complaint in text
    assert ("DATABASE_URL" if name == "REPLICAS" else name) in text


def test_development_needs_only_a_key_and_uses_the_demo_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_ENV", "development")
    assert "SECRET_KEY" in problems()
    monkeypatch.setenv("SECRET_KEY", "x")
    assert config.load().chosen_model == "demo"


def test_a_trial_as_localhost_may_use_the_demo_model(production: pytest.MonkeyPatch) -> None:
    production.setenv("TRUSTED_HOSTS", "localhost")
    production.setenv("MODEL", "demo")
    assert config.load().chosen_model == "demo"


def test_with_its_key_the_projects_own_model_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_ENV", "development")
    monkeypatch.setenv("SECRET_KEY", "x")
    for variable in filter(None, (variable for variable, _ in config.PROVIDERS.values())):
        monkeypatch.setenv(variable, "key")
    assert config.load().chosen_model == config.project()["model"]


def test_secrets_may_come_from_files(production: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text(GOOD_KEY[::-1] + "\n")
    (tmp_path / "..data").mkdir()  # as Kubernetes mounts them
    production.setattr(config, "SECRETS_DIR", tmp_path)
    production.delenv("SECRET_KEY")
    assert config.load().secret_key.get_secret_value() == GOOD_KEY[::-1]


def test_the_environment_wins_over_the_file_and_the_file_is_found(production: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(f"PORT=9000\nMODEL=from-the-file\nSECRET_KEY={GOOD_KEY}\n")
    settings = config.load()
    assert (settings.port, settings.model) == (9000, "openai:gpt-x")
    production.delenv("PORT")


def test_settings_cannot_change_and_do_not_show_secrets(production: pytest.MonkeyPatch) -> None:
    settings = config.load()
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1
    assert GOOD_KEY not in repr(settings)
    assert isinstance(settings.secret_key, SecretStr)


def test_the_example_names_every_setting_and_nothing_else() -> None:
    named = set(re.findall(r"^(?:# )?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))
    elsewhere = {"LOGFIRE_TOKEN", *(variable for variable, _ in config.PROVIDERS.values() if variable)}
    named = {name for name in named if not name.startswith("OTEL_")}  # read by OpenTelemetry itself
    assert named - elsewhere == {name.upper() for name in config.Settings.model_fields}


def test_the_example_shows_the_defaults() -> None:
    example = (ROOT / ".env.example").read_text("utf-8")
    shown = dict(re.findall(r"^# ([A-Z_]+)=(\S+)$", example, re.MULTILINE))
    for name, value in shown.items():
        field = config.Settings.model_fields.get(name.lower())
        if field is not None and field.default not in (None, "", ()) and isinstance(field.default, int | float | str):
            assert value.lower() == str(field.default).lower(), name
