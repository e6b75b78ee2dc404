"""What the database refuses of one answer costs no other answer anything."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from engines import Engine, Services
from fake_provider import FakeProvider, call, end, say, wait
from flask import Flask
from live import LiveServer, Remote
from outside import (
    CALM,
    LATER,
    MOST_SECONDS,
    QUESTION,
    Scene,
    a_tool,
    execute,
    last_answer,
    make_scene,
    provider,
    seen_on,
    squeezed,
    table,
    verdict,
    visible,
    within,
)
from shapes import NOTES, Script
from sqlalchemy import delete, update
from support import Asked, MakeApp, wait_until

from app.chat.models import Conversation, Run
from app.database import db, transaction

__all__ = ["provider", "table"]
pytestmark = CALM
A_FORM = {"text": "And?", "client_key": "0" * 32}
MARK = "xyzzy"  # the database of these tests refuses rows that contain it
TRIGGERS = {
    "sqlite": (
        (
            "CREATE TRIGGER refuse_{when} BEFORE {when} ON {table} WHEN {condition}"
            " BEGIN SELECT RAISE(ABORT, 'refused by the test'); END"
        ),
    ),
    "postgresql": (
        (
            "CREATE FUNCTION refuse_{when}() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'refused by the test'; END $$"
        ),
        (
            "CREATE TRIGGER refuse_{when} BEFORE {when} ON {table} FOR EACH ROW"
            " WHEN ({condition}) EXECUTE FUNCTION refuse_{when}()"
        ),
    ),
}
DROPS = {
    "sqlite": "DROP TRIGGER refuse_{when}",
    "postgresql": "DROP FUNCTION refuse_{when} CASCADE",
}


@contextmanager
def refused(app: Flask, table: str, condition: str) -> Iterator[None]:
    """New rows of *table* that meet a *condition* on NEW are refused."""
    with app.app_context():
        dialect = db.engine.dialect.name
    for when in ("INSERT", "UPDATE"):
        names = {"when": when, "table": table, "condition": condition}
        execute(app, *(text.format(**names) for text in TRIGGERS[dialect]))
    try:
        yield
    finally:
        execute(app, *(DROPS[dialect].format(when=when) for when in ("INSERT", "UPDATE")))


@dataclass(frozen=True)
class Refusal:
    """A row that the database refuses, and what is left of the answer."""

    name: str
    table: str
    condition: str
    rounds: Sequence[Script]
    text: str | None  # None: as much as could be saved
    question: str = QUESTION


EXPENSIVE = 66_666  # tokens
PLAIN = "Hello there."
MARKED = f"Hello {MARK} there."
REFUSALS = [
    Refusal(
        "the text",
        "messages",
        f"NEW.text LIKE '%{MARK}%'",
        [(say(MARKED),)],
        None,
    ),
    Refusal(
        "the text, in the middle of it",
        "messages",
        f"NEW.text LIKE '%{MARK}%'",
        [(say("A beginning. ", MARKED, " And an end."),)],
        None,
    ),
    Refusal(
        "the messages of the model",
        "messages",
        f"NEW.model_messages LIKE '%{MARK}%'",
        [(say(MARKED),)],
        MARKED,
    ),
    Refusal(
        "the reasoning",
        "messages",
        f"NEW.reasoning LIKE '%{MARK}%'",
        [(say(f"<think>{MARK}</think>", PLAIN),)],
        PLAIN,
    ),
    Refusal(
        "the result of a tool",
        "tool_calls",
        f"NEW.result LIKE '%{MARK}%'",
        [(call("odd"),), (say(PLAIN),)],
        PLAIN,
    ),
    Refusal(
        "the arguments of a tool",
        "tool_calls",
        f"NEW.arguments LIKE '%{MARK}%'",
        [(call("odd", f'{{"value": "{MARK}"}}'),), (say(PLAIN),)],
        PLAIN,
    ),
    Refusal(
        "the messages of an answer that waits for an approval",
        "messages",
        f"NEW.model_messages LIKE '%{MARK}%'",
        [(say("Shall I? "), call("delete_conversation", f'{{"title": "{MARK}"}}'))],
        "Shall I?",
    ),
    Refusal(
        "how the run ended",
        "runs",
        f"NEW.output_tokens = {EXPENSIVE}",
        [(say(PLAIN), end("stop", usage=(20, EXPENSIVE)))],
        PLAIN,
    ),
    Refusal(
        "what it cost",
        "daily_usage",
        f"NEW.tokens > {EXPENSIVE - 1000}",
        [(say(PLAIN), end("stop", usage=(20, EXPENSIVE)))],
        PLAIN,
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: row.name)
def test_a_run_that_cannot_be_saved_hurts_no_other(
    make_app: MakeApp,
    provider: FakeProvider,
    engine: Engine,
    table: list[Sequence[str]],
    row: Refusal,
) -> None:
    scene = make_scene(make_app, provider)
    scene.scripts.add(QUESTION, *row.rounds)
    with ExitStack() as stack:
        stack.enter_context(a_tool("odd", f"A result: {MARK}."))
        judged = stack.enter_context(verdict(table, "2 refused", row.name, engine.name))
        with refused(scene.app, row.table, row.condition):
            scene.begin_neighbour()
            asked = scene.ask()
            with judged.on("page"):
                page = within(MOST_SECONDS, asked.page)
            with judged.on("neighbour"):
                scene.end_neighbour()
        with judged.on("page"):
            shown = last_answer(scene.ada, asked.conversation)
            assert page.ending.kind == "error"
            assert NOTES["save"] in page.ending.data["footer"]
            assert squeezed(NOTES["save"]) in visible(shown)
            assert "Using" not in shown
            assert "Wants to use" not in shown
            assert squeezed(row.text or "") in visible(shown)
            assert squeezed(row.text or "") in seen_on(page)
        with judged.on("stored row"):
            run = scene.run_of(asked)
            assert (run.status, run.error) == ("error", "save")
            stored = scene.answer_of(asked).text.strip()
            assert stored == row.text if row.text else MARK not in stored
        with judged.on("next question"):
            later = scene.ask(LATER, asked.conversation)
            assert within(MOST_SECONDS, later.page).ending.kind == "done"


def test_a_conversation_that_is_deleted_under_an_answer_hurts_no_other(
    make_app: MakeApp,
    provider: FakeProvider,
    engine: Engine,
    table: list[Sequence[str]],
) -> None:
    scene = make_scene(make_app, provider)
    go_on = threading.Event()
    rounds = [(say("Half."), wait(go_on), call("my_usage")), (say("The rest."),)]
    scene.scripts.add(QUESTION, *rounds)
    with verdict(table, "2 refused", "rows that are gone", engine.name) as judged:
        scene.begin_neighbour()
        asked = scene.ask()
        wait_until(lambda: scene.answer_of(asked).text)
        conversation_id = scene.answer_of(asked).conversation_id
        gone = delete(Conversation).where(Conversation.id == conversation_id)
        with scene.app.app_context(), transaction() as session:
            session.execute(gone)
        go_on.set()
        with judged.on("page"):
            wait_until(lambda: QUESTION in scene.scripts.requests)
            assert scene.ada.get(asked.conversation).status_code == 404
        with judged.on("neighbour"):
            scene.end_neighbour()
        with judged.on("next question"):
            later = scene.ask(LATER)
            assert within(MOST_SECONDS, later.page).ending.kind == "done"


def heartbeat(scene: Scene, asked: Asked) -> Any:
    return scene.run_of(asked).heartbeat_at


def test_heartbeats_go_on_while_an_answer_cannot_be_saved(make_app: MakeApp, provider: FakeProvider) -> None:
    scene = make_scene(make_app, provider)
    scene.scripts.add(QUESTION, (say(MARKED), wait(provider.over)))
    scene.scripts.add("Bob's", (say("Half."), wait(provider.over)))
    with refused(scene.app, "messages", f"NEW.text LIKE '%{MARK}%'"):
        scene.ask()
        bobs = scene.bob.ask("Bob's")
        for _ in range(2):
            before = heartbeat(scene, bobs)
            wait_until(lambda before=before: heartbeat(scene, bobs) > before, 15)
        provider.over.set()


def unfinished_answer(scene: Scene) -> tuple[Asked, threading.Event]:
    """An answer that has begun, and the event that lets it end."""
    go_on = threading.Event()
    scene.scripts.add(QUESTION, (say("Hello "), wait(go_on), say("there.")))
    asked = scene.ask()
    wait_until(lambda: scene.answer_of(asked).text)
    return asked, go_on


def check_complete(scene: Scene, asked: Asked) -> None:
    page = within(MOST_SECONDS, asked.page)
    assert (page.ending.kind, page.words) == ("done", ["Hello", "there."])
    assert scene.answer_of(asked).text == PLAIN
    assert scene.run_of(asked).error is None


@contextmanager
def locked_database(engine: Engine, folder: Path) -> Iterator[None]:
    """Nobody can write to the database, as when its disk is full or a backup hangs."""
    if isinstance(engine, Services):
        with engine.database.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE messages, runs IN SHARE MODE")
            yield
        return
    with closing(sqlite3.connect(folder / "app.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def readiness(scene: Scene) -> tuple[int, str]:
    response = scene.app.test_client().get("/readyz")
    return response.status_code, response.json["status"]


def test_saving_that_fails_shows_in_readyz_and_costs_no_answer(
    make_app: MakeApp, provider: FakeProvider, engine: Engine, tmp_path: Path
) -> None:
    scene = make_scene(make_app, provider)
    scene.begin_neighbour()
    asked, go_on = unfinished_answer(scene)
    assert readiness(scene) == (200, "ok")
    with locked_database(engine, tmp_path):
        go_on.set()
        wait_until(lambda: readiness(scene) == (200, "degraded"), MOST_SECONDS)
    check_complete(scene, asked)
    scene.end_neighbour()
    wait_until(lambda: readiness(scene) == (200, "ok"), MOST_SECONDS)


def set_heartbeat_back(scene: Scene, asked: Asked) -> None:
    """As if no heartbeat had been written for an hour."""
    old = heartbeat(scene, asked) - timedelta(hours=1)
    with scene.app.app_context(), transaction() as session:
        session.execute(update(Run).values(heartbeat_at=old))


def test_a_run_of_this_process_is_never_closed_as_stale(make_app: MakeApp, provider: FakeProvider) -> None:
    scene = make_scene(make_app, provider)
    asked, go_on = unfinished_answer(scene)
    for _ in range(3):
        set_heartbeat_back(scene, asked)
        assert ">Stop<" in scene.ada.get(asked.conversation).text
        set_heartbeat_back(scene, asked)
        assert scene.ada.get(asked.status).json["active"]
        set_heartbeat_back(scene, asked)
        assert scene.ada.post(f"{asked.conversation}/messages", **A_FORM).status_code == 409
    assert scene.run_of(asked).status == "running"
    go_on.set()
    check_complete(scene, asked)


def test_a_run_of_another_living_process_is_never_closed_as_stale(
    make_app: MakeApp, provider: FakeProvider, engine: Engine, tmp_path: Path
) -> None:
    scene = make_scene(make_app, provider)
    asked, go_on = unfinished_answer(scene)
    set_heartbeat_back(scene, asked)
    environment = {"SECRET_KEY": str(scene.app.secret_key), "DATA_DIR": str(tmp_path)}
    folder = tmp_path / "other"
    folder.mkdir()
    server = LiveServer(folder, **(engine.environment | environment)).start()
    try:
        remote = Remote(server)
        name = scene.app.config["SESSION_COOKIE_NAME"]
        remote.cookies[name] = scene.ada.client.get_cookie(name).value
        for _ in range(3):
            set_heartbeat_back(scene, asked)
            status, shown = remote.get(asked.conversation, Accept="text/html")
            assert status == 200
            assert ">Stop<" in shown
    finally:
        server.stop()
    assert scene.run_of(asked).status == "running"
    go_on.set()
    check_complete(scene, asked)
