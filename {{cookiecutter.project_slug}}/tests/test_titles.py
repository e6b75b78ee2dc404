"""A conversation gets a title from the model, or keeps the first line of its question."""

from __future__ import annotations

import asyncio
import logging

import pytest
from fake_provider import STALL, FakeProvider, Step, say, status
from flask import Flask
from sqlalchemy import select
from support import FETCH, MakeApp, Visitor, wait_until, work_off
from test_providers import PROTOCOLS, app_with, provider

from app import jobs
from app.chat.models import Conversation, DailyUsage
from app.chat.runs import titles

__all__ = ["provider"]

OUTPUTS = {
    "plain": ("Blue skies", "Blue skies"),
    "quoted": ('"Blue skies"', "Blue skies"),
    "a heading": ("# Blue skies\n", "Blue skies"),
    "bold with a prefix": ("**Title:** Blue skies", "Blue skies"),
    "a prefix": ("Title: Blue skies", "Blue skies"),
    "a German prefix": ("Titel: Blauer Himmel", "Blauer Himmel"),
    "Japanese": ("「青い空」", "青い空"),
    "a full stop": ("Blue skies.", "Blue skies"),
    "nothing": ("", None),
    "only decoration": ("***", None),
    "two lines": ("Blue skies\nHere is why", None),
    "a sentence": ("The sky is blue because air scatters the blue light of the sun most", None),
    "too long a word": ("x" * 61, None),
    "JSON": ('{"title": "Blue skies"}', None),
    "markup": ("<b>Blue skies</b>", None),
    "a table": ("| Blue | skies |", None),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_only_a_short_line_is_a_title(name: str) -> None:
    output, title = OUTPUTS[name]
    assert titles.usable_title(output) == title


def ask_and_name(app: Flask, provider: FakeProvider, *steps: Step) -> Visitor:
    """A question, its answer, and the job that asks for a title."""
    ada = Visitor.signed_in(app, "ada@example.com")
    provider.will(say("Because."))
    ada.ask("Why is the sky blue?").page()
    provider.will(*steps)
    work_off(app)
    return ada


def title_of(visitor: Visitor) -> str:
    return visitor.rows(select(Conversation.title))[0]


def test_reasoning_is_not_part_of_a_title(make_app: MakeApp, provider: FakeProvider) -> None:
    app = app_with(make_app, PROTOCOLS["openai"])
    ada = ask_and_name(app, provider, say("<think>\nhm"), say("m</think>\n\n"), say("Blue skies"))
    assert title_of(ada) == "Blue skies"
    assert "Blue skies" in ada.get("/chat/search", FETCH).json["list"]  # no list from before it


@pytest.mark.parametrize(
    "steps",
    [
        (status(401),),
        (status(500),),
        (say(""),),
        (say("I am sorry, but I cannot think of a title for this conversation."),),
        (say("word " * 5_000),),
    ],
    ids=["refused key", "server error", "empty", "a sentence", "endless"],
)
def test_a_failed_title_is_no_failed_job(
    make_app: MakeApp, provider: FakeProvider, steps: tuple[Step, ...], caplog: pytest.LogCaptureFixture
) -> None:
    app = app_with(make_app, PROTOCOLS["openai"])
    ada = ask_and_name(app, provider, *steps)
    assert title_of(ada) == "Why is the sky blue?"
    with app.app_context():
        assert jobs.dead() == {}
        assert jobs.queue().pending_count() + jobs.queue().scheduled_count() == 0
    assert ada.get("/readyz", FETCH).json["checks"]["jobs"] == "ok"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_title_that_takes_too_long_is_cancelled(
    make_app: MakeApp, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(titles, "TITLE_SECONDS", 0.5)
    app = app_with(make_app, PROTOCOLS["openai"], first_token_seconds=30)
    ada = ask_and_name(app, provider, STALL)
    assert title_of(ada) == "Why is the sky blue?"
    runner = app.extensions["runner"]

    async def model_calls() -> list[str]:
        names = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]
        return [name for name in names if "ask_in_time" in name or "run" in name.lower()]

    wait_until(lambda: runner.loop.submit(model_calls()).result() == [])


def test_a_title_costs_little_and_counts_against_the_budget(make_app: MakeApp, provider: FakeProvider) -> None:
    app = app_with(make_app, PROTOCOLS["openai"])
    ada = Visitor.signed_in(app, "ada@example.com")
    provider.will(say("Because."))
    ada.ask("Why is the sky blue? " * 500).page()
    before = ada.rows(select(DailyUsage.tokens))[0]
    provider.will(say("Blue skies"))
    work_off(app)
    assert ada.rows(select(DailyUsage.tokens))[0] == before + 30  # what the provider reported
    request = provider.requests[-1]
    assert request.get("max_completion_tokens", request.get("max_tokens")) <= 100
    assert sum(len(str(message["content"])) for message in request["messages"]) < 2_000


def test_an_endless_title_is_cut_off_and_counted(make_app: MakeApp, provider: FakeProvider) -> None:
    app = app_with(make_app, PROTOCOLS["openai"])
    ada = Visitor.signed_in(app, "ada@example.com")
    provider.will(say("Because."))
    ada.ask("Why is the sky blue?").page()
    before = ada.rows(select(DailyUsage.tokens))[0]
    provider.will(*[say("word " * 20)] * 1_000)
    work_off(app)
    assert 100 < ada.rows(select(DailyUsage.tokens))[0] - before < 1_500


def test_without_a_budget_there_is_no_title(make_app: MakeApp, provider: FakeProvider) -> None:
    app = app_with(make_app, PROTOCOLS["openai"], user_tokens_per_day=25)
    ask_and_name(app, provider, say("Blue skies"))
    assert len(provider.requests) == 1


def test_jobs_of_the_release_before_are_still_done(make_app: MakeApp, provider: FakeProvider) -> None:
    assert jobs.Job.registry["app.chat.background.suggest"] is titles.suggest
