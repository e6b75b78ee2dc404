"""A tool that changes something waits until its user approves; a decision counts once, and is nobody else's."""

from __future__ import annotations

import re
import threading
import uuid

import pytest
from flask import Flask
from pydantic_ai.messages import ToolReturnPart
from sqlalchemy import select
from support import PAGE, Asked, MakeApp, ScriptedModel, Visitor, the_answer, the_run, wait_until
from test_stale_runs import kill
from werkzeug.test import TestResponse

from app.chat.models import Approval, Conversation, Run, RunStatus, ToolCall
from app.chat.runs import stale


def twins(scripted: ScriptedModel, visitor: Visitor) -> None:
    """Two conversations of one title: a tool that runs twice deletes both."""
    for _ in range(2):
        scripted.answer("Yes.")
        visitor.ask("Twin").page()


def kept(visitor: Visitor) -> int:
    query = select(Conversation).where(Conversation.title == "Twin", Conversation.deleted_at.is_(None))
    return len(visitor.rows(query))


def wants_to_delete(scripted: ScriptedModel, visitor: Visitor) -> Asked:
    scripted.say("Let me see.")
    scripted.call("delete_conversation", title="Twin")
    asked = visitor.ask("Delete one")
    assert asked.page().ending.kind == "waiting"
    return asked


def decisions(html: str) -> list[str]:
    return re.findall(r'action="(/tool-calls/[^"]+/decision)"', html)


def approve(visitor: Visitor, url: str, decision: str = "approve", **form: str) -> TestResponse:
    return visitor.post(url, decision=decision, **form)


@pytest.fixture
def waiting(ada: Visitor, scripted: ScriptedModel) -> tuple[Asked, str]:
    twins(scripted, ada)
    asked = wants_to_delete(scripted, ada)
    return asked, decisions(ada.get(asked.conversation).text)[0]


def test_the_tool_runs_when_approved_and_the_answer_goes_on(
    app: Flask, ada: Visitor, scripted: ScriptedModel, waiting: tuple[Asked, str]
) -> None:
    asked, url = waiting
    shown = ada.get(asked.conversation).text
    assert "May the assistant use" in shown
    assert "<dt>title</dt><dd>Twin</dd>" in shown
    assert ">Stop<" in shown
    assert ">Regenerate<" not in shown
    assert kept(ada) == 2
    scripted.answer("It is gone.")
    response = approve(ada, url)
    assert response.status_code == 200
    after = int(re.search(r'data-after="(\d+)"', response.json["messages"])[1])
    events = ada.read(f"{asked.events}?after={after}")
    assert [event.number for event in events] == list(range(after + 1, after + 1 + len(events)))
    assert events[-1].kind == "done"
    assert "Deleted “Twin”." in str(events)
    assert kept(ada) == 1
    message = the_answer(app)
    assert message.text == "Let me see.\n\nIt is gone."
    shown = ada.get(asked.conversation).text
    assert shown.index("Let me see.") < shown.index("Deleted “Twin”.") < shown.index("It is gone.")
    assert the_run(app).output_tokens > 0
    scripted.answer("Later.")
    ada.ask("And now?", asked.conversation).page()
    returns = [p for m in scripted.asked[-1] for p in m.parts if isinstance(p, ToolReturnPart)]
    assert [part.content for part in returns] == ["Deleted “Twin”."]


def test_a_denial_and_its_reason_are_told_to_the_model(
    ada: Visitor, scripted: ScriptedModel, waiting: tuple[Asked, str]
) -> None:
    asked, url = waiting
    scripted.answer("As you wish.")
    assert approve(ada, url, "deny", reason="I need both").status_code == 200
    wait_until(lambda: the_run(ada.app).status == RunStatus.DONE)
    part = scripted.asked[-1][-1].parts[0]
    assert (part.outcome, "I need both" in part.content) == ("denied", True)
    assert kept(ada) == 2
    assert "Not allowed:" in ada.get(asked.conversation).text
    approval = ada.rows(select(Approval))[0]
    assert (approval.approved, approval.reason, approval.decided_by) == (False, "I need both", ada.user_id)


def test_forged_foreign_and_malformed_decisions_are_refused(
    ada: Visitor, bob: Visitor, waiting: tuple[Asked, str]
) -> None:
    _, url = waiting
    assert approve(ada, f"/tool-calls/{uuid.uuid4()}/decision").status_code == 404
    assert approve(bob, url).status_code == 404
    assert approve(Visitor(ada.app), url).status_code == 401
    assert ada.client.post(url, data={"decision": "approve"}).status_code == 400  # no token
    assert approve(ada, url, "maybe").status_code == 422
    assert the_run(ada.app).status == RunStatus.WAITING
    assert kept(ada) == 2


def test_what_was_approved_cannot_be_changed_by_the_client(
    ada: Visitor, scripted: ScriptedModel, waiting: tuple[Asked, str]
) -> None:
    _, url = waiting
    scripted.answer("It is gone.")
    forged = approve(ada, url, title="Something else", arguments='{"title": "Something else"}', name="my_usage")
    assert forged.status_code == 422
    approve(ada, url)
    wait_until(lambda: the_run(ada.app).status == RunStatus.DONE)
    assert [call.arguments for call in ada.rows(select(ToolCall))] == ['{"title":"Twin"}']
    assert kept(ada) == 1


def test_of_many_decisions_at_once_one_counts(
    ada: Visitor, make_app: MakeApp, scripted: ScriptedModel, waiting: tuple[Asked, str]
) -> None:
    _, url = waiting
    others = [Visitor.of(ada.app, ada) for _ in range(3)] + [Visitor.of(make_app(), ada) for _ in range(3)]
    statuses: list[int] = []
    start = threading.Barrier(len(others))
    scripted.answer("It is gone.")

    def press(visitor: Visitor) -> None:
        start.wait()
        statuses.append(approve(visitor, url).status_code)

    threads = [threading.Thread(target=press, args=(visitor,)) for visitor in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 409, 409, 409, 409, 409]
    wait_until(lambda: the_run(ada.app).status == RunStatus.DONE)
    assert kept(ada) == 1
    assert approve(ada, url).status_code == 409  # replayed
    assert len(ada.rows(select(Approval))) == 1


def test_a_decision_after_stop_is_too_late(ada: Visitor, scripted: ScriptedModel, waiting: tuple[Asked, str]) -> None:
    asked, url = waiting
    response = ada.post(asked.stop)
    assert "You stopped this answer." in response.json["messages"]
    assert approve(ada, url).status_code == 409
    assert kept(ada) == 2
    assert decisions(ada.get(asked.conversation).text) == []
    scripted.answer("Still here.")
    assert ada.ask("Hello?", asked.conversation).page().words == ["Still", "here."]


def test_a_question_meanwhile_is_refused_and_a_page_can_be_loaded_anew(
    ada: Visitor, waiting: tuple[Asked, str]
) -> None:
    asked, url = waiting
    busy = ada.post(f"{asked.conversation}/messages", text="Hello?", client_key=str(uuid.uuid4()))
    assert busy.status_code == 409
    assert decisions(ada.get(asked.conversation).text) == [url]
    assert ada.post(url, PAGE, decision="deny").status_code == 303  # without a script


def test_a_run_waits_for_days_and_goes_on_in_another_process(
    app: Flask, ada: Visitor, make_app: MakeApp, scripted: ScriptedModel, waiting: tuple[Asked, str]
) -> None:
    asked, url = waiting
    kill(app)
    other = make_app()
    second = Visitor.of(other, ada)
    with other.app_context():
        stale.close_all_stale(other)
    assert decisions(second.get(asked.conversation).text) == [url]
    scripted.answer("It is gone.")
    assert approve(second, url).status_code == 200
    wait_until(lambda: the_run(other).status == RunStatus.DONE)
    assert kept(second) == 1
    events = second.read(f"{asked.events}?after=1")  # the log of the first process is gone: the whole answer is sent
    assert [event.kind for event in events] == ["whole", "done"]


def test_two_calls_wait_for_two_decisions(ada: Visitor, scripted: ScriptedModel) -> None:
    twins(scripted, ada)
    scripted.call_all(("delete_conversation", {"title": "Twin"}), ("delete_conversation", {"title": "Nothing"}))
    asked = ada.ask("Delete two")
    assert asked.page().ending.kind == "waiting"
    first, second = decisions(ada.get(asked.conversation).text)
    assert approve(ada, first).status_code == 200
    assert the_run(ada.app).status == RunStatus.WAITING
    assert decisions(ada.get(asked.conversation).text) == [second]
    scripted.answer("Done.")
    assert approve(ada, second, "deny").status_code == 200
    wait_until(lambda: the_run(ada.app).status == RunStatus.DONE)
    assert kept(ada) == 1
    assert [run.status for run in ada.rows(select(Run).where(Run.status != RunStatus.DONE))] == []
