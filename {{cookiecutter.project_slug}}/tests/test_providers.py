"""Whatever a model provider does, nothing is lost, nothing hangs, and nobody reads what is not theirs."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_provider import CLOSE, CUT, ENDLESS, STALL, FakeProvider, Step, call, end, raw, say, status
from flask import Flask
from pydantic_ai import models
from sqlalchemy import select
from support import Asked, MakeApp, Visitor, the_answer, the_run, wait_until

from app.chat import failures
from app.chat.models import Message

pytestmark = pytest.mark.one_engine

KEY, PROMPT = "sk-key-0123456789-never-logged", "a prompt that nobody else may read"
PROTOCOLS = {"openai": "openai-chat:gpt-4o", "anthropic": "anthropic:claude-sonnet-5-5"}
SHORT: dict[str, Any] = {"first_token_seconds": 2.5, "between_tokens_seconds": 2.5, "run_timeout_seconds": 60}
ERROR_EVENT = {
    "openai": b'data: {"error": {"message": "overloaded", "type": "server_error", "code": 503}}\n\n',
    "anthropic": b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}\n\n',
}
# What happens, and what is said of it.
FAULTS: dict[str, tuple[Step, str]] = {
    "silence": (STALL, "timeout"),
    "rubbish": (raw(b"event: content_block_delta\ndata: {this is not json\n\n"), "model"),
    "broken connection": (CUT, "connection"),
    "stream without an end": (CLOSE, "connection"),
    "401": (status(401), "unavailable"),
    "429 with Retry-After": (status(429, Retry_After="7"), "busy"),
    "500": (status(500), "busy"),
    "refusal": (end("refusal"), "refused"),
    "endless answer": (ENDLESS, "length"),
    "bad tool arguments": (call("search_my_conversations", '{"words": 7, "more": '), "none"),
    "10 MB at once": (say("x" * 10_000_000), "length"),
}
MOMENTS = ("before the first word", "in the middle", "in a tool call")
WORDS = "Half of an answer. "


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProvider]:
    provider = FakeProvider()
    monkeypatch.setattr(models, "ALLOW_MODEL_REQUESTS", True)  # on the loopback
    for name in ("OPENAI", "ANTHROPIC"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{provider.url}/v1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", provider.url)
    yield provider
    provider.close()


def app_with(make_app: MakeApp, model: str, **changes: Any) -> Flask:
    app = make_app(model=model, **(SHORT | {"log_level": "DEBUG", "model_retries": 0} | changes))
    del app.extensions["model"]
    return app


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[tuple[str, ...]]]:
    """Rows that are printed when all faults have been seen."""
    rows: list[tuple[str, ...]] = []
    yield rows
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    manager = request.config.pluginmanager.getplugin("capturemanager")
    with manager.global_and_fixture_disabled():
        request.config.get_terminal_writer().write(
            "\n" + "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows) + "\n"
        )


def in_the_stream(fault: Step, moment: str) -> bool:
    """Whether it is too late for a status: an event says that the provider is overloaded."""
    return fault.kind == "status" and moment == "in the middle"


def scripts(protocol: str, fault: Step, moment: str) -> list[tuple[Step, ...]]:
    """What the provider does in one request after the other."""
    if in_the_stream(fault, moment):
        return [(say(WORDS), raw(ERROR_EVENT[protocol]), CLOSE)]
    if moment == "before the first word":
        return [(fault,)]
    if moment == "in the middle":
        return [(say(WORDS), fault)]
    return [(say(WORDS), call("my_usage")), (fault,)]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_fault_of_the_provider_costs_nothing_but_the_rest_of_one_answer(
    make_app: MakeApp,
    provider: FakeProvider,
    protocol: str,
    fault: str,
    table: list[tuple[str, ...]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("markdown_it").setLevel(logging.INFO)  # says nothing but a lot
    app = app_with(make_app, PROTOCOLS[protocol])
    ada = Visitor.signed_in(app, "ada@example.com")
    step = FAULTS[fault][0]
    for moment in MOMENTS:
        expected = "busy" if in_the_stream(step, moment) else FAULTS[fault][1]
        if step is CLOSE and moment != "in the middle" and protocol == "openai":
            expected = "model"  # it said nothing at all
        if step is CLOSE and moment != "in the middle" and protocol == "anthropic":
            expected = "none"  # nothing, or half a call: the model is asked once more
        for script in scripts(protocol, step, moment):
            provider.will(*script)
        began = time.monotonic()
        asked = ada.ask(PROMPT)
        page = asked.page()
        seconds = time.monotonic() - began
        run, stored = the_run(app), the_answer(app).text
        said = run.error or "none"
        table.append(
            (
                protocol,
                fault,
                moment,
                page.ending.kind,
                failures.note(said) or "-",
                f"{len(stored)} characters",
                f"{seconds:.1f} s",
            )
        )
        assert said == expected, (moment, run.status)
        assert page.ending.kind == run.status == ("done" if expected == "none" else "error")
        assert expected == "none" or failures.note(expected) in page.ending.data["footer"]
        assert stored.startswith("" if moment == "before the first word" else WORDS.strip())
        assert ada.rows(select(Message.text).where(Message.id == the_answer(app).parent_id)) == [PROMPT]
        assert seconds < SHORT["run_timeout_seconds"] / 2
        assert failures.note(expected) in ada.get(asked.conversation).text
        provider.will(say("On we go."))
        assert goes_on(ada, asked)
    for record in caplog.records:
        line = logging.Formatter().format(record)
        assert KEY not in line
        assert PROMPT not in line
        assert "Traceback" not in line


def goes_on(visitor: Visitor, asked: Asked) -> bool:
    return "On we go." in visitor.ask("And now?", asked.conversation).page().html


def test_retries_happen_in_one_place_and_wait_as_asked(make_app: MakeApp, provider: FakeProvider) -> None:
    app = app_with(make_app, PROTOCOLS["openai"], model_retries=2, first_token_seconds=10)
    for _ in range(2):
        provider.will(status(503, Retry_After="0.1"))
    provider.will(say("At last."))
    assert Visitor.signed_in(app, "ada@example.com").ask().page().words == ["At", "last."]
    assert len(provider.requests) == 3
    for _ in range(9):
        provider.will(status(503, Retry_After="0.1"))
    assert Visitor.signed_in(app, "bob@example.com").ask().page().ending.kind == "error"
    assert len(provider.requests) == 6


@pytest.mark.parametrize("fault", [STALL, CUT, status(401), status(429), status(500)])
def test_the_next_model_answers_when_the_first_fails(make_app: MakeApp, provider: FakeProvider, fault: Step) -> None:
    app = app_with(make_app, PROTOCOLS["openai"], model_fallbacks=(PROTOCOLS["anthropic"],))
    provider.will(fault)
    provider.will(say("From the second."))
    assert Visitor.signed_in(app, "ada@example.com").ask().page().words == ["From", "the", "second."]
    run = the_run(app)
    assert (run.status, run.model) == ("done", "claude-sonnet-5-5")
    assert run.cost > 0


def test_a_priced_answer_shows_what_it_cost(make_app: MakeApp, provider: FakeProvider) -> None:
    app = app_with(make_app, PROTOCOLS["openai"])
    footer = Visitor.signed_in(app, "ada@example.com").ask().page().ending.data["footer"]
    run = the_run(app)
    assert (run.input_tokens, run.output_tokens) == (20, 10)
    assert f"30 tokens · cost ${run.cost:.4f}" in footer
    assert run.cost > 0


def test_a_process_keeps_its_connections_to_the_provider(make_app: MakeApp, provider: FakeProvider) -> None:
    app = app_with(make_app, PROTOCOLS["openai"])
    ada = Visitor.signed_in(app, "ada@example.com")
    for _ in range(5):
        assert ada.ask().page().words == ["Hello."]
    assert provider.connections == 1


def test_only_so_many_requests_are_made_at_once(make_app: MakeApp, provider: FakeProvider) -> None:
    app = app_with(make_app, PROTOCOLS["openai"], max_model_requests=1, first_token_seconds=5)
    ada = Visitor.signed_in(app, "ada@example.com")
    provider.will(STALL)
    first = ada.ask()
    wait_until(lambda: provider.requests)
    second = ada.ask("Me too?")
    time.sleep(0.3)
    assert len(provider.requests) == 1
    ada.post(first.stop)
    assert second.page().words == ["Hello."]


def test_no_sdk_is_imported_before_the_first_question(make_app: MakeApp) -> None:
    code = """
import sys
from app import create_app
app = create_app()
client = app.test_client()
assert client.get("/", headers={"Accept": "text/html"}).status_code == 200
assert client.get("/login", headers={"Accept": "text/html"}).status_code == 200
print(sorted({"openai", "anthropic", "pydantic_ai", "boto3", "mistralai", "groq"} & set(sys.modules)))
"""
    environment = {"APP_ENV": "development", "SECRET_KEY": "x" * 40, "MODEL": PROTOCOLS["openai"]}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert found.stdout == "[]\n", found.stderr


def test_all_but_the_agent_is_imported_before_workers_are_forked() -> None:
    code = """
import runpy, sys
runpy.run_path("gunicorn.conf.py")
from app import ROOMS
print(sorted({f"app.{room}" for room in ROOMS} - set(sys.modules)), "pydantic_ai" in sys.modules)
"""
    alone = {"cwd": Path(__file__).parents[1], "env": {"APP_ENV": "development", "SECRET_KEY": "x" * 40}}
    found = subprocess.run([sys.executable, "-c", code], **alone, capture_output=True, text=True, check=False)
    assert found.stdout == "[] False\n", found.stderr
