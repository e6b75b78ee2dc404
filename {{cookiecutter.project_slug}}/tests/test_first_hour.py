"""What goes wrong in the first hour: a missing key, a misspelt provider, a refused key."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_provider import FakeProvider, say, status
from flask import Flask
from pydantic_ai import models
from support import MakeApp, Visitor, the_run
from test_providers import PROTOCOLS, app_with, provider

from app import config

__all__ = ["provider"]

NOT_CONFIGURED = "The assistant is not configured. Please contact the site administrator."


def asked_in_vain(app: Flask) -> str:
    page = Visitor.signed_in(app, "ada@example.com").ask().page()
    assert page.ending.kind == "error"
    assert the_run(app).error == "unconfigured"
    return page.ending.data["footer"]


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("openai:gpt-5.2", "OPENAI_API_KEY: missing; MODEL openai:gpt-5.2 needs this key"),
        ("opnai:gpt-5.2", "MODEL: opnai:gpt-5.2 names no known provider, as in openai:gpt-5.2; did you mean openai:"),
        ("gpt-5.2", "MODEL: gpt-5.2 names no known provider"),
        ("groq:llama", "MODEL: groq:llama needs an SDK: uv add 'pydantic-ai-slim[groq]'"),
    ],
)
def test_the_page_says_that_nothing_is_configured_and_the_log_says_what(
    make_app: MakeApp,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: str,
    problem: str,
) -> None:
    monkeypatch.setattr(models, "ALLOW_MODEL_REQUESTS", True)
    app = make_app(model=model)
    assert problem in capsys.readouterr().err  # development says it at the start
    del app.extensions["model"]
    assert NOT_CONFIGURED in asked_in_vain(app)
    assert problem in capsys.readouterr().err


def test_a_refused_key_is_named_but_not_shown(
    make_app: MakeApp, provider: FakeProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    app = app_with(make_app, PROTOCOLS["openai"], model_fallbacks=(PROTOCOLS["anthropic"],))
    for _ in range(2):
        provider.will(status(401))
    assert NOT_CONFIGURED in asked_in_vain(app)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "failed: unconfigured" in line]
    assert "the provider refused OPENAI_API_KEY" in line
    assert "the provider refused ANTHROPIC_API_KEY" in line
    assert "sk-" not in line


def test_a_key_that_was_rotated_in_its_file_is_used_without_a_restart(
    make_app: MakeApp, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    monkeypatch.setattr(config, "SECRETS_DIR", secrets)
    monkeypatch.setattr(config, "_secrets_from_files", {})
    monkeypatch.delenv("OPENAI_API_KEY")
    (secrets / "openai_api_key").write_text("sk-first\n")
    config.read_secret_files()
    app = app_with(make_app, PROTOCOLS["openai"])
    ada = Visitor.signed_in(app, "ada@example.com")
    provider.will(say("One."))
    assert ada.ask().page().words == ["One."]
    (secrets / "openai_api_key").write_text("sk-second\n")
    provider.will(say("Two."))
    assert ada.ask().page().words == ["Two."]
    assert provider.keys == ["Bearer sk-first", "Bearer sk-second"]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    assert config.read_secret_files() is False
