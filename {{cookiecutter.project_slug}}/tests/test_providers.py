"""Whatever a provider does, nothing is lost, nothing hangs, and no secret is logged."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_provider import (
    CLOSE,
    CUT,
    ENDLESS,
    STALL,
    FakeProvider,
    Step,
    call,
    end,
    event,
    raw,
    say,
    status,
)
from flask import Flask
from outside import KEY, print_table, provider
from shapes import ANTHROPIC, CHAT, DONE, NOTES, RESPONSES, Script
from sqlalchemy import select
from support import Asked, MakeApp, Visitor, the_answer, the_run, wait_until

from app.chat.models import Message

__all__ = ["provider"]
pytestmark = pytest.mark.one_engine

PROMPT = "a prompt that only its user may read"
PROTOCOLS = {"openai": CHAT, "anthropic": ANTHROPIC, "responses": RESPONSES}
SHORT: dict[str, Any] = {
    "first_token_seconds": 2.5,
    "between_tokens_seconds": 2.5,
    "run_timeout_seconds": 60,
}
OVERLOADED = {"type": "overloaded_error", "message": "Overloaded"}
ERROR_EVENT = {
    "openai": b'data: {"error": {"message": "overloaded", "code": 503}}\n\n',
    "anthropic": event("error", error=OVERLOADED),
    "responses": event("error", sequence_number=9, code="server_is_overloaded", message="x", param=None),
}
NOT_JSON = raw(b"event: content_block_delta\ndata: {this is not json\n\n")
HUGE = say("x" * 10_000_000)
# What happens, and the words that the run may end with; None is a good end.
FAULTS: dict[str, tuple[Step, tuple[str | None, ...]]] = {
    "silence": (STALL, ("timeout",)),
    "rubbish": (NOT_JSON, ("model",)),
    "broken connection": (CUT, ("connection",)),
    "stream without an end": (CLOSE, ("connection",)),
    "401": (status(401), ("unconfigured",)),
    "429 with Retry-After": (status(429, Retry_After="7"), ("busy",)),
    "500": (status(500), ("busy",)),
    "refusal": (end("refusal"), ("refused",)),
    "endless answer": (ENDLESS, ("length",)),
    "bad tool arguments": (
        call("search_my_conversations", '{"words": 7, "more": '),
        (None,),
    ),
    "10 MB at once": (HUGE, ("length",)),
}
RESPONSES_FAULTS: dict[str, tuple[Step, tuple[str | None, ...]]] = {
    "incomplete: too long": (end("length"), ("length",)),
    "incomplete: filtered": (end("content_filter"), ("refused",)),
    "incomplete without a reason": (end(None), ("cut_off", "incomplete")),
    "failed": (end("failed"), ("busy",)),
}
OWN_LIMIT = (ENDLESS, HUGE)  # answers that this application cuts off
# A response without anything in it: the agent may ask the model once more.
EMPTY = (CLOSE, RESPONSES_FAULTS["incomplete without a reason"][0])
MOMENTS = ("before the first word", "in the middle", "in a tool call")
WORDS = "Half of an answer. "


def rows() -> list[tuple[str, str]]:
    every = [(protocol, fault) for protocol in PROTOCOLS for fault in FAULTS]
    return [*every, *(("responses", fault) for fault in RESPONSES_FAULTS)]


def app_with(make_app: MakeApp, model: str, **changes: Any) -> Flask:
    settings = SHORT | {"log_level": "DEBUG", "model_retries": 0} | changes
    app = make_app(model=model, **settings)
    del app.extensions["model"]
    return app


@pytest.fixture(scope="module")
def faults_seen(request: pytest.FixtureRequest) -> Iterator[list[Sequence[str]]]:
    """Rows that are printed when all faults have been seen."""
    seen: list[Sequence[str]] = []
    yield seen
    print_table(request, seen)


def is_in_the_stream(fault: Step, moment: str) -> bool:
    """Whether it is too late for a status: an event reports the overload instead."""
    return fault.kind == "status" and moment == "in the middle"


def scripts(protocol: str, fault: Step, moment: str) -> list[Script]:
    """What the provider does in one request after the other."""
    if is_in_the_stream(fault, moment):
        return [(say(WORDS), raw(ERROR_EVENT[protocol]), CLOSE)]
    if moment == "before the first word":
        return [(fault,)]
    if moment == "in the middle":
        return [(say(WORDS), fault)]
    return [(say(WORDS), call("my_usage")), (fault,)]


@pytest.mark.parametrize(("protocol", "fault"), rows())
def test_a_fault_of_the_provider_costs_nothing_but_the_rest_of_one_answer(
    make_app: MakeApp,
    provider: FakeProvider,
    protocol: str,
    fault: str,
    faults_seen: list[Sequence[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("markdown_it").setLevel(logging.INFO)  # logs each rule it tries
    app = app_with(make_app, PROTOCOLS[protocol])
    ada = Visitor.signed_in(app, "ada@example.com")
    step, errors = (FAULTS | RESPONSES_FAULTS)[fault]
    for moment in MOMENTS:
        for script in scripts(protocol, step, moment):
            provider.will(*script)
        began = time.monotonic()
        asked = ada.ask(PROMPT)
        page = asked.page()
        seconds = time.monotonic() - began
        run = the_run(app)
        stored = the_answer(app).text
        note = NOTES.get(run.error or "", "")
        cells = (protocol, fault, moment, page.ending.kind, note or "-")
        faults_seen.append((*cells, f"{len(stored)} characters", f"{seconds:.1f} s"))
        assert run.error in errors_after(step, moment, errors), (moment, run.status)
        assert page.ending.kind == run.status
        assert run.status in statuses_of(step, run.error)
        assert note in page.ending.data["footer"]
        assert moment == "before the first word" or stored.startswith(WORDS.strip())
        assert question_of_answer(ada) == [PROMPT]
        assert seconds < SHORT["run_timeout_seconds"] / 2
        assert note in ada.get(asked.conversation).text
        provider.will(say("On we go."))
        assert goes_on(ada, asked)
    assert_nothing_secret_is_logged(caplog)


def errors_after(step: Step, moment: str, errors: tuple[str | None, ...]) -> tuple[str | None, ...]:
    """The words that a run may end with after a fault at this moment."""
    if is_in_the_stream(step, moment):
        return ("busy",)
    if step in EMPTY and moment != "in the middle":
        return (*errors, "model", None)
    return errors


def statuses_of(step: Step, problem: str | None) -> tuple[str, ...]:
    """How a run ends: an answer that is only too long is not a failure."""
    if problem == "length":
        return ("error",) if step in OWN_LIMIT else ("done", "error")
    return ("done",) if problem in DONE else ("error",)


def question_of_answer(visitor: Visitor) -> list[str]:
    question_id = the_answer(visitor.app).parent_id
    return visitor.rows(select(Message.text).where(Message.id == question_id))


def goes_on(visitor: Visitor, asked: Asked) -> bool:
    return "On we go." in visitor.ask("And now?", asked.conversation).page().html


def assert_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    for record in caplog.records:
        line = logging.Formatter().format(record)
        assert KEY not in line
        assert PROMPT not in line
        assert "Traceback" not in line


def test_retries_happen_in_one_place_and_wait_as_asked(make_app: MakeApp, provider: FakeProvider) -> None:
    app = app_with(make_app, CHAT, model_retries=2, first_token_seconds=10)
    for _ in range(2):
        provider.will(status(503, Retry_After="0.1"))
    provider.will(say("At last."))
    ada = Visitor.signed_in(app, "ada@example.com")
    assert ada.ask().page().words == ["At", "last."]
    assert len(provider.requests) == 3
    for _ in range(9):
        provider.will(status(503, Retry_After="0.1"))
    bob = Visitor.signed_in(app, "bob@example.com")
    assert bob.ask().page().ending.kind == "error"
    assert len(provider.requests) == 6


@pytest.mark.parametrize("protocol", ["openai", "responses"])
@pytest.mark.parametrize("fault", [STALL, CUT, status(401), status(429), status(500)])
def test_the_next_model_answers_when_the_first_fails(
    make_app: MakeApp, provider: FakeProvider, fault: Step, protocol: str
) -> None:
    app = app_with(make_app, PROTOCOLS[protocol], model_fallbacks=(ANTHROPIC,))
    provider.will(fault)
    provider.will(say("From the second."))
    ada = Visitor.signed_in(app, "ada@example.com")
    assert ada.ask().page().words == ["From", "the", "second."]
    run = the_run(app)
    assert (run.status, run.model) == ("done", "claude-sonnet-5-5")
    assert run.cost > 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_priced_answer_shows_what_it_cost(make_app: MakeApp, provider: FakeProvider, protocol: str) -> None:
    app = app_with(make_app, PROTOCOLS[protocol])
    ada = Visitor.signed_in(app, "ada@example.com")
    footer = ada.ask().page().ending.data["footer"]
    run = the_run(app)
    assert (run.input_tokens, run.output_tokens) == (20, 10)
    assert f"30 tokens · cost ${run.cost:.4f}" in footer
    assert run.cost > 0


def test_a_process_keeps_its_connections_to_the_provider(make_app: MakeApp, provider: FakeProvider) -> None:
    app = app_with(make_app, CHAT)
    ada = Visitor.signed_in(app, "ada@example.com")
    for _ in range(5):
        assert ada.ask().page().words == ["Hello."]
    assert provider.connections == 1


def test_only_so_many_requests_are_made_at_once(make_app: MakeApp, provider: FakeProvider) -> None:
    app = app_with(make_app, CHAT, max_model_requests=1, first_token_seconds=5)
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
sdks = {"openai", "anthropic", "pydantic_ai", "boto3", "mistralai", "groq"}
print(sorted(sdks & set(sys.modules)))
"""
    environment = {"APP_ENV": "development", "SECRET_KEY": "x" * 40, "MODEL": CHAT}
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == "[]\n", found.stderr


def test_all_but_the_agent_is_imported_before_workers_are_forked() -> None:
    code = """
import runpy, sys
runpy.run_path("gunicorn.conf.py")
from app import ROOMS
missing = {f"app.{room}" for room in ROOMS} - set(sys.modules)
print(sorted(missing), "pydantic_ai" in sys.modules)
"""
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        env={"APP_ENV": "development", "SECRET_KEY": "x" * 40},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == "[] False\n", found.stderr
