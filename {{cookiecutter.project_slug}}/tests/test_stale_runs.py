"""A run whose process is gone is closed, with its text, as soon as someone looks."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import update
from support import MakeApp, ScriptedModel, Visitor, the_answer, the_run, wait_until

from app.chat.models import Run, RunStatus
from app.database import now, transaction


def kill(app: Flask) -> None:
    """What a killed process leaves: its rows."""
    runner = app.extensions["runner"]
    for live in runner.live.values():
        runner.loop.call(live.task.cancel)
    runner.live.clear()


def abandon(app: Flask, **values: object) -> None:
    """Make the active run look like one of another process."""
    with app.app_context(), transaction() as session:
        session.execute(update(Run).values(**values))


@pytest.mark.parametrize(
    "values",
    [
        {"heartbeat_at": now() - timedelta(minutes=1), "worker": "elsewhere/1/abc"},
        {"worker": f"{socket.gethostname()}/{2**22 + 1}/abc"},
    ],
    ids=["no heartbeat", "its process has ended"],
)
def test_a_run_whose_process_is_gone_is_closed_with_its_text(
    make_app: MakeApp, scripted: ScriptedModel, values: dict[str, object]
) -> None:
    first = make_app()
    ada = Visitor.signed_in(first, "ada@example.com")
    asked = ada.ask()
    scripted.say("As far as ")
    wait_until(lambda: the_answer(first).text)
    kill(first)
    abandon(first, **values)
    survivor = Visitor.of(make_app(), ada)
    shown = survivor.get(asked.conversation).text
    assert "As far as" in shown
    assert "was interrupted" in shown
    assert ">Regenerate<" in shown
    scripted.answer("Here I am.")
    assert survivor.ask("Go on?", asked.conversation).page().words == ["Here", "I", "am."]


def test_a_run_on_another_host_with_a_heartbeat_is_left_alone(
    app: Flask, ada: Visitor, scripted: ScriptedModel
) -> None:
    asked = ada.ask()
    abandon(app, worker="elsewhere/1/abc", heartbeat_at=now())
    assert ">Stop<" in ada.get(asked.conversation).text


def test_a_waiting_run_is_never_stale(app: Flask, ada: Visitor, scripted: ScriptedModel) -> None:
    asked = ada.ask()
    scripted.answer("x")
    asked.page()
    abandon(app, status=RunStatus.WAITING, worker="elsewhere/1/abc", heartbeat_at=now() - timedelta(days=3))
    ada.get(asked.conversation)
    assert the_run(app).status == RunStatus.WAITING
