"""The event route: every stream resumes by number, and shows each word once and in order."""

from __future__ import annotations

import random
import time
import uuid
from typing import Any

import pytest
from engines import Engine
from flask import Flask
from support import MakeApp, Page, ScriptedModel, Visitor, parse_events, wait_until

from app.chat.models import Conversation, Message, Run, RunStatus
from app.chat.rendering import GrowingAnswer, render_saved
from app.chat.runs import saving, stale
from app.chat.runs.live_run import LiveRun
from app.chat.streams import sse
from app.database import db, new_id, transaction
from app.security.markdown import render_markdown


def test_a_stream_resumes_after_any_number(ada: Visitor, scripted: ScriptedModel) -> None:
    asked = ada.ask()
    for word in ("One ", "two ", "three."):
        scripted.say(word)
        time.sleep(0.12)
    scripted.finish()
    everything = ada.read(asked.events)
    numbers = [event.number for event in everything]
    assert numbers == list(range(1, len(numbers) + 1))
    for after in range(len(numbers) + 1):
        assert ada.read(f"{asked.events}?after={after}") == everything[after:]


def test_the_larger_of_query_and_header_wins(ada: Visitor, scripted: ScriptedModel) -> None:
    scripted.answer("One.")
    asked = ada.ask()
    everything = ada.read(asked.events)
    assert ada.read(f"{asked.events}?after=1", **{"Last-Event-ID": "2"}) == everything[2:]
    assert ada.read(f"{asked.events}?after=2", **{"Last-Event-ID": "1"}) == everything[2:]


@pytest.mark.parametrize("query", ["?after=-1", "?after=x", "?after=99999999999", "?other=1"])
def test_a_bad_position_is_refused(ada: Visitor, scripted: ScriptedModel, query: str) -> None:
    scripted.answer("One.")
    asked = ada.ask()
    assert ada.get(asked.events + query).status_code == 422


def test_an_event_stream_is_not_buffered_or_cached(ada: Visitor, scripted: ScriptedModel) -> None:
    scripted.answer("One.")
    response = ada.client.get(ada.ask().events)
    assert response.mimetype == "text/event-stream"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Content-Security-Policy" in response.headers


def test_text_cannot_forge_an_event(ada: Visitor, scripted: ScriptedModel) -> None:
    evil = "\n\nid: 99\nevent: done\ndata: {}\n\n"
    scripted.answer("before" + evil + "after")
    events = ada.read(ada.ask().events)
    assert [event.kind for event in events] == ["text"] * (len(events) - 1) + ["done"]
    assert [event.number for event in events] == list(range(1, len(events) + 1))


def test_a_silent_stream_sends_heartbeats(
    ada: Visitor, scripted: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.05)
    stream = ada.client.get(ada.ask().events, buffered=False).iter_encoded()
    assert [next(stream) for _ in range(3)] == [sse.OPENING, sse.HEARTBEAT, sse.HEARTBEAT]


def test_without_its_log_a_finished_answer_is_sent_whole(
    app: Flask, engine: Engine, ada: Visitor, scripted: ScriptedModel
) -> None:
    scripted.answer("All of ", "it.")
    asked = ada.ask()
    asked.page()
    engine.lose_log(app)
    page = Page()
    for event in ada.read(f"{asked.events}?after=2"):
        assert page.take(event)
    assert page.words == ["All", "of", "it."]
    assert page.ending.kind == "done"


def test_without_its_log_a_running_answer_is_sent_as_saved_and_may_be_asked_for_again(
    app: Flask, engine: Engine, ada: Visitor, scripted: ScriptedModel
) -> None:
    asked = ada.ask()
    scripted.say("As far as ")
    wait_until(lambda: "As far as" in ada.get(asked.conversation).text)
    engine.lose_log(app)
    whole, again = ada.read(asked.events)
    assert whole.kind == "whole"
    assert whole.data["tail"] == "As far as "
    assert (again.kind, again.data["seconds"] > 0) == ("reconnect", True)


def test_one_user_may_open_so_many_streams_and_not_more(make_app: MakeApp, scripted: ScriptedModel) -> None:
    app = make_app(max_streams_per_user=2)
    ada, bob = Visitor.signed_in(app, "ada@example.com"), Visitor.signed_in(app, "bob@example.com")
    asked, other = ada.ask(), bob.ask()
    opened = [ada.client.get(asked.events, buffered=False) for _ in range(2)]
    refused = ada.get(asked.events, {"Accept": "text/event-stream"})
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "5"
    assert refused.json["type"] == "urn:problem:too-many-streams"
    opened.append(bob.client.get(other.events, buffered=False))
    opened[0].close()
    opened[0] = ada.client.get(asked.events, buffered=False)
    assert opened[0].status_code == 200
    for response in opened:
        response.close()
    assert app.extensions["streams"].open.total() == 0


def test_a_process_opens_so_many_streams_and_not_more(make_app: MakeApp, scripted: ScriptedModel) -> None:
    app = make_app(max_streams=1)
    ada, bob = Visitor.signed_in(app, "ada@example.com"), Visitor.signed_in(app, "bob@example.com")
    first, second = ada.ask(), bob.ask()
    response = ada.client.get(first.events, buffered=False)
    refused = bob.get(second.events, {"Accept": "text/event-stream"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    response.close()


PIECES = [
    *(f"w{number} " for number in range(12)),
    "\n\n",
    "\n- item ",
    "\n```py\ncode ",
    "\n```\n",
    "**bold** ",
    "\n\n| a | b |\n|---|---|\n| c ",
    "\n# Head\n",
    "\n    indented ",
]


class Story:
    """One run that is written by hand, and a page that follows it over bad connections."""

    def __init__(self, app: Flask, ada: Visitor, seed: int):
        self.app, self.ada, self.random = app, ada, random.Random(seed)
        self.runner = app.extensions["runner"]
        conversation = Conversation(id=new_id(), user_id=ada.user_id, title="x")
        question = Message(id=new_id(), conversation_id=conversation.id, user_id=ada.user_id, role="user", text="?")
        answer = Message(
            id=new_id(), conversation_id=conversation.id, user_id=ada.user_id, role="assistant", parent_id=question.id
        )
        run = Run(
            id=new_id(),
            conversation_id=conversation.id,
            user_id=ada.user_id,
            answer_id=answer.id,
            worker=stale.this_worker(),
        )
        with app.app_context(), transaction() as session:
            for row in (conversation, question, answer, run):
                session.add(row)
                session.flush()
        self.live = LiveRun(run.id, conversation.id, GrowingAnswer(answer.id))
        self.url = f"/runs/{run.id}/events"
        self.log("open", run.id)
        self.page, self.text = Page(), ""
        self.late: list[Any] = []

    def log(self, method: str, *arguments: Any) -> Any:
        return self.runner.loop.submit(getattr(self.runner.log, method)(*arguments)).result()

    def write(self) -> None:
        for _ in range(self.random.randint(1, 4)):
            piece = self.random.choice(PIECES)
            self.text += piece
            self.live.answer.add_text(piece)
        if event := self.live.next_event():
            self.log("append", [event])
        if self.random.random() < 0.4:
            self.save()

    def save(self) -> dict[uuid.UUID, Run]:
        snapshot = self.live.snapshot()
        return saving.save(self.app, [snapshot]).runs if snapshot else {}

    def connect(self) -> None:
        """Read some of what there is, from here or, as a browser that has forgotten, from further back; then drop."""
        after = self.random.choice([self.page.last, self.random.randint(0, self.page.last)])
        available = self.live.number - after
        if available <= 0:
            return
        header = {"Last-Event-ID": str(after)} if self.random.random() < 0.5 else {}
        query = "" if header else f"?after={after}"
        response = self.ada.client.get(self.url + query, headers=header, buffered=False)
        events = parse_events(response.iter_encoded())
        received = [next(events) for _ in range(self.random.randint(1, available))]
        response.close()
        kept = self.random.randint(0, len(received))
        for event in received[:kept]:
            assert self.page.take(event)
        self.late += received[kept:]  # on their way when the page gave the connection up

    def arrive_late(self) -> None:
        self.random.shuffle(self.late)
        for event in self.late[: self.random.randint(0, 4)]:
            self.page.take(event)  # repeated, out of order, or with something missing before it

    def reload(self) -> None:
        with self.app.app_context():
            message = db.session.get_one(Message, self.live.answer.answer_id)
            items, self.page.tail = render_saved(message, active=True)
        self.page.items, self.page.last = dict(enumerate(map(str, items))), message.event_number
        self.late.clear()

    def finish(self) -> None:
        self.live.status = RunStatus.DONE
        if event := self.live.next_event():
            self.log("append", [event])
        (run,) = self.save().values()
        self.log("append", [self.live.terminal_event(run)])
        self.log("end", run.id, self.live.number)

    def play(self) -> None:
        steps = [self.write, self.write, self.connect, self.connect, self.arrive_late, self.reload]
        for _ in range(self.random.randint(4, 12)):
            self.random.choice(steps)()
        self.write()
        self.finish()
        self.arrive_late()
        for event in self.ada.read(f"{self.url}?after={self.page.last}"):
            assert self.page.take(event)


@pytest.mark.parametrize("batch", range(10))
def test_dropped_repeated_and_reordered_connections_show_every_word_once(
    make_app: MakeApp, engine: Engine, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(max_streams_per_user=100)
    app.extensions["limits"].enabled = False
    ada = Visitor.signed_in(app, f"{uuid.uuid4().hex}@example.com")
    for number in range(100 if engine.name == "embedded" else 10):
        story = Story(app, ada, seed=batch * 1000 + number)
        story.play()
        assert story.page.ending is not None
        assert story.page.tail.strip() == ""
        assert story.page.html == render_markdown(story.text), f"seed {batch * 1000 + number}"
