"""A question is never lost, and its answer belongs to no connection."""

from __future__ import annotations

import threading
import time
import uuid

import pytest
from flask import Flask
from sqlalchemy import func, select
from support import FETCH, MakeApp, ScriptedModel, Visitor, the_answer, the_run, wait_until

from app.chat.models import Conversation, Message, Run, RunStatus, ToolCall
from app.chat.runs import saving
from app.database import transaction


def test_a_question_is_answered_and_both_are_stored(app: Flask, ada: Visitor, scripted: ScriptedModel) -> None:
    scripted.answer("It is ", "**four**.")
    page = ada.ask("What is two and two?").page()
    assert page.html == "<p>It is <strong>four</strong>.</p>\n"
    assert page.tail == ""
    assert page.ending.kind == "done"
    texts = ada.rows(select(Message.text).order_by(Message.id))
    assert texts == ["What is two and two?", "It is **four**."]
    run = the_run(app)
    assert (run.status, run.model, run.output_tokens > 0) == (RunStatus.DONE, "scripted", True)


def test_an_unknown_price_is_unknown_and_not_zero(app: Flask, ada: Visitor, scripted: ScriptedModel) -> None:
    scripted.answer("Four.")
    footer = ada.ask().page().ending.data["footer"]
    assert the_run(app).cost is None
    assert "cost unknown" in footer
    assert "$" not in footer


def test_an_answer_goes_on_when_nobody_listens(app: Flask, ada: Visitor, scripted: ScriptedModel) -> None:
    asked = ada.ask()
    scripted.answer("Nobody ", "was ", "here.")
    wait_until(lambda: the_run(app).status == RunStatus.DONE)
    assert "Nobody was here." in ada.get(asked.conversation).text


def test_the_first_words_do_not_wait_for_more(ada: Visitor, scripted: ScriptedModel) -> None:
    asked = ada.ask()
    scripted.say("One ")
    stream = ada.client.get(asked.events, buffered=False).iter_encoded()
    received = b""
    while b"One " not in received:
        received += next(stream)
    scripted.finish()


def test_the_same_key_twice_makes_one_message(ada: Visitor, scripted: ScriptedModel) -> None:
    key = str(uuid.uuid4())
    first = ada.ask("Once?", key=key)
    second = ada.ask("Once?", key=key)
    assert second.conversation == first.conversation
    assert second.events == first.events
    assert ada.rows(select(func.count()).select_from(Message)) == [2]


def test_two_posts_at_once_with_one_key_make_one_message(app: Flask, scripted: ScriptedModel) -> None:
    tabs = [Visitor.signed_in(app, "ada@example.com")]
    with tabs[0].client.session_transaction() as cookie:
        token = cookie["_user_id"]
    for _ in range(5):
        tabs.append(Visitor(app))
        with tabs[-1].client.session_transaction() as cookie:
            cookie["_user_id"] = token
    key, answers = str(uuid.uuid4()), []
    threads = [threading.Thread(target=lambda tab=tab: answers.append(tab.ask(key=key))) for tab in tabs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({asked.conversation for asked in answers}) == 1
    assert len(answers) == len(tabs)
    assert tabs[0].rows(select(func.count()).select_from(Message)) == [2]


def test_a_second_question_waits_for_the_first_answer(ada: Visitor, scripted: ScriptedModel) -> None:
    asked = ada.ask("First?")
    refused = ada.post(f"{asked.conversation}/messages", text="Second?", client_key=str(uuid.uuid4()))
    assert refused.status_code == 409
    assert refused.json["type"] == "urn:problem:conversation-busy"
    assert ada.rows(select(Message.text).where(Message.role == "user")) == ["First?"]
    scripted.answer("Now.")
    asked.page()
    scripted.answer("And now.")
    ada.ask("Second?", asked.conversation).page()


def test_stop_ends_the_model_call_and_keeps_the_text(app: Flask, ada: Visitor, scripted: ScriptedModel) -> None:
    asked = ada.ask()
    scripted.say("Half an ")
    wait_until(lambda: the_answer(app).text)
    assert ada.post(asked.stop).status_code == 202
    wait_until(lambda: scripted.cancelled == 1, 1)
    page = asked.page()
    assert page.ending.kind == "stopped"
    assert "You stopped" in page.ending.data["footer"]
    assert page.words == ["Half", "an"]
    assert the_answer(app).text == "Half an "
    assert "You stopped" in ada.get(asked.conversation).text


def test_stop_reaches_a_run_of_another_process(
    make_app: MakeApp, ada: Visitor, app: Flask, scripted: ScriptedModel
) -> None:
    asked = ada.ask()
    scripted.say("Half")
    wait_until(lambda: the_answer(app).text)
    other = Visitor.of(make_app(), ada)
    assert other.post(asked.stop).status_code == 202
    wait_until(lambda: scripted.cancelled == 1, 2)
    assert asked.page().ending.kind == "stopped"


def test_a_database_that_fails_for_a_moment_loses_nothing(
    app: Flask, ada: Visitor, scripted: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, failures = saving.save, [RuntimeError("gone"), RuntimeError("gone")]
    monkeypatch.setattr(saving, "save", lambda *args: save(*args) if not failures else fail(failures.pop()))
    scripted.call("my_usage")
    scripted.answer("All of it.")
    assert "All of it." in ada.ask().page().html
    assert not failures
    assert the_answer(app).text == "All of it."
    assert len(ada.rows(select(ToolCall))) == 1


def fail(error: Exception) -> None:
    raise error


def test_after_a_stop_the_conversation_goes_on(ada: Visitor, scripted: ScriptedModel) -> None:
    asked = ada.ask("First?")
    scripted.say("Half")
    wait_until(lambda: scripted.asked)
    ada.post(asked.stop)
    asked.page()
    scripted.answer("Whole.")
    assert ada.ask("Second?", asked.conversation).page().words == ["Whole."]


def test_regenerate_adds_a_version_and_keeps_the_first(ada: Visitor, scripted: ScriptedModel) -> None:
    scripted.answer("First version.")
    asked = ada.ask("Say something.")
    asked.page()
    scripted.answer("Second version.")
    again = ada.post(asked.regenerate)
    assert again.status_code == 201
    wait_until(lambda: "Second version." in ada.get(asked.conversation).text)
    assert "First version." not in ada.get(asked.conversation).text
    parents = ada.rows(select(Message.parent_id).where(Message.role == "assistant"))
    assert len(parents) == 2
    assert len(set(parents)) == 1


def test_a_process_takes_only_so_many_runs(make_app: MakeApp, scripted: ScriptedModel) -> None:
    app = make_app(max_runs=1)
    ada, bob = Visitor.signed_in(app, "ada@example.com"), Visitor.signed_in(app, "bob@example.com")
    asked = ada.ask()
    refused = bob.post("/chat", text="Me too?", client_key=str(uuid.uuid4()))
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "5"
    assert bob.rows(select(Message.text).where(Message.role == "user")) == ["Hello?"]
    scripted.answer("Done.")
    asked.page()


def test_a_run_that_takes_too_long_fails_with_what_it_has(make_app: MakeApp, scripted: ScriptedModel) -> None:
    app = make_app(run_timeout_seconds=0.5)
    ada = Visitor.signed_in(app, "ada@example.com")
    scripted.say("A little")
    page = ada.ask().page()
    assert page.ending.kind == "error"
    assert "too long" in page.ending.data["footer"]
    assert page.words == ["A", "little"]


def test_a_failing_model_ends_the_run_without_internals(
    app: Flask, ada: Visitor, scripted: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.say("A little")
    scripted.fail(RuntimeError("secret-internal-detail"))
    page = ada.ask().page()
    assert page.ending.kind == "error"
    assert "secret-internal-detail" not in str(page.ending)
    assert the_answer(app).text == "A little"
    assert the_run(app).error == "model"


def test_an_endless_tool_loop_is_cut(make_app: MakeApp, scripted: ScriptedModel) -> None:
    app = make_app(max_requests_per_run=2)
    for _ in range(3):
        scripted.call("my_usage")
    page = Visitor.signed_in(app, "ada@example.com").ask().page()
    assert page.ending.kind == "error"
    assert "more steps" in page.ending.data["footer"]


def test_tool_steps_are_shown_where_they_happened_and_stored(ada: Visitor, scripted: ScriptedModel) -> None:
    scripted.say("Let me look.")
    scripted.call("my_usage")
    scripted.answer("You have one.")
    asked = ada.ask()
    page = asked.page()
    before, step, after = (page.items[number] for number in range(3))
    assert "Let me look." in before
    assert "my_usage" in step
    assert 'data-status="done"' in step
    assert "You have one." in after
    (call,) = ada.rows(select(ToolCall))
    assert (call.name, call.status) == ("my_usage", "done")
    shown = ada.get(asked.conversation).text
    assert [shown.index(text) for text in ("Let me look.", "my_usage", "You have one.")] == sorted(
        shown.index(text) for text in ("Let me look.", "my_usage", "You have one.")
    )


def test_a_draining_process_finishes_its_runs_and_takes_no_new_ones(
    app: Flask, ada: Visitor, bob: Visitor, scripted: ScriptedModel
) -> None:
    asked = ada.ask()
    scripted.say("One ")
    runner = app.extensions["runner"]
    stream = ada.client.get(asked.events, buffered=False).iter_encoded()
    next(stream)
    runner.begin_drain()
    assert b"event: reconnect" in b"".join(stream)
    assert bob.post("/chat", text="Me?", client_key=str(uuid.uuid4())).status_code == 503
    assert ada.get("/readyz", FETCH).status_code == 503
    threading.Timer(0.3, scripted.answer, ["two."]).start()
    runner.finish_drain(10)
    assert the_answer(app).text == "One two."
    assert the_run(app).status == RunStatus.DONE


def test_a_drain_that_takes_too_long_interrupts_and_keeps_the_text(
    app: Flask, ada: Visitor, scripted: ScriptedModel
) -> None:
    ada.ask()
    scripted.say("Half")
    wait_until(lambda: scripted.asked)
    time.sleep(0.1)
    app.extensions["runner"].finish_drain(0)
    assert the_run(app).status == RunStatus.INTERRUPTED
    assert the_answer(app).text == "Half"


def test_deleting_a_conversation_stops_its_run(app: Flask, ada: Visitor, scripted: ScriptedModel) -> None:
    asked = ada.ask()
    wait_until(lambda: scripted.asked)
    ada.post(f"{asked.conversation}/delete")
    wait_until(lambda: the_run(app).status == RunStatus.STOPPED)


def test_a_conversation_has_one_active_run_whatever_the_code_does(
    app: Flask, ada: Visitor, scripted: ScriptedModel
) -> None:
    ada.ask()
    with app.app_context(), transaction() as session:
        run = session.scalars(select(Run)).one()
        copy = Run(conversation_id=run.conversation_id, user_id=run.user_id, answer_id=uuid.uuid4(), worker="x/1/y")
        session.add(copy)
        with pytest.raises(Exception, match=r"UNIQUE constraint failed|uq_runs_active"):
            session.flush()
        session.rollback()
    assert len(ada.rows(select(Conversation))) == 1


def test_only_the_loop_adds_to_what_it_iterates_over(app: Flask, ada: Visitor, scripted: ScriptedModel) -> None:
    """A request that added a run while the loop was saving the others would end the saving of all of them."""
    threads = set()

    class Watched(dict[uuid.UUID, object]):
        def __setitem__(self, key: uuid.UUID, value: object) -> None:
            threads.add(threading.current_thread().name)
            super().__setitem__(key, value)

    app.extensions["runner"].live = Watched()
    scripted.answer("Four.")
    ada.ask().page()
    assert threads == {"agent-loop"}
