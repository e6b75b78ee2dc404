"""Traces: one for each question, nothing of what people wrote, errors once."""

from __future__ import annotations

import json
import logging

import pytest
from flask import Flask
from support import FETCH, MakeApp, ScriptedModel, Visitor, sign_in, sign_up, the_run, wait_until, work_off
from tracing import Telemetry, collecting, settings_of

from app import jobs

SECRET_WORDS = "the plan is a surprise party"


def answered(app: Flask, visitor: Visitor, text: str = SECRET_WORDS) -> None:
    visitor.ask(text).page()
    wait_until(lambda: not app.extensions["runner"].live)


def a_question_with_a_tool(make_app: MakeApp, scripted: ScriptedModel, **changes: object) -> Telemetry:
    app = make_app(**changes)
    ada = Visitor.signed_in(app, "ada@example.com")
    with collecting(settings_of(app)) as telemetry:
        scripted.call("search_my_conversations", words="party")
        scripted.answer("Bring ", "cake.")
        answered(app, ada)
        return telemetry


def test_a_question_is_one_trace_from_the_request_to_the_saved_answer(
    make_app: MakeApp, scripted: ScriptedModel
) -> None:
    telemetry = a_question_with_a_tool(make_app, scripted)
    root = telemetry.named("POST /chat")
    assert root.parent is None
    agent = telemetry.tree(root)["run"]["invoke_agent assistant"]
    assert "chat scripted" in agent
    assert "execute_tool search_my_conversations" in json.dumps(agent)
    assert "save answer" in telemetry.tree(root)["run"]
    known = {span.context.span_id for span in telemetry.spans}
    begun_here = {span.context.trace_id for span in telemetry.spans if span.parent is None}
    own = [span for span in telemetry.spans if span.context.trace_id in begun_here]
    assert not [span.name for span in own if span.parent and span.parent.span_id not in known]
    assert all(span.name.startswith(("POST /", "GET /")) for span in telemetry.spans if span.parent is None)


def test_a_stream_links_to_the_trace_of_its_question(make_app: MakeApp, scripted: ScriptedModel) -> None:
    telemetry = a_question_with_a_tool(make_app, scripted)
    (link,) = telemetry.named("GET /runs/<uuid:run_id>/events").links
    assert link.context.span_id == telemetry.named("POST /chat").context.span_id


def test_what_people_write_and_models_answer_is_in_no_trace(make_app: MakeApp, scripted: ScriptedModel) -> None:
    exported = a_question_with_a_tool(make_app, scripted).everything()
    assert "party" not in exported
    assert "cake" not in exported


def test_content_is_there_when_it_is_switched_on(make_app: MakeApp, scripted: ScriptedModel) -> None:
    exported = a_question_with_a_tool(make_app, scripted, trace_content=True).everything()
    assert SECRET_WORDS in exported
    assert "cake" in exported


def test_a_failed_answer_is_recorded_once_without_its_message(
    app: Flask, ada: Visitor, scripted: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    with collecting(settings_of(app)) as telemetry, caplog.at_level(logging.ERROR):
        scripted.fail(RuntimeError(f"the provider did not like: {SECRET_WORDS}"))
        answered(app, ada)
        recorded = [span for span in telemetry.spans if any(event.name == "exception" for event in span.events)]
        assert len(recorded) == 1
        assert recorded[0].attributes["logfire.exception.fingerprint"]
        assert recorded[0].events[0].attributes["exception.type"] == "RuntimeError"
        assert telemetry.named("run").status.status_code.name == "ERROR"
        assert "surprise" not in telemetry.everything()
        assert telemetry.value("app.errors", where="run", type="RuntimeError") == 1
        assert telemetry.value("app.runs", outcome="error", error="model") == 1


def test_the_same_mistake_has_the_same_fingerprint(app: Flask, ada: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ValueError(SECRET_WORDS)

    monkeypatch.setitem(app.view_functions, "home.index", broken)
    with collecting(settings_of(app)) as telemetry:
        problems = [ada.get("/", FETCH).json for _ in range(2)]
        spans = [span for span in telemetry.spans if span.name == "GET /"]
        assert len({span.attributes["logfire.exception.fingerprint"] for span in spans}) == 1
        assert [f"{span.context.trace_id:032x}" for span in spans] == [problem["trace_id"] for problem in problems]
        assert [len(span.events) for span in spans] == [1, 1]
        assert telemetry.value("app.errors", where="request", type="ValueError") == 2


def test_accounts_and_stops_have_spans_with_ids_only(app: Flask, scripted: ScriptedModel) -> None:
    visitor = Visitor(app)
    with collecting(settings_of(app)) as telemetry:
        sign_up(visitor)
        sign_in(Visitor(app))
        sign_in(Visitor(app), password="not my password")
        asked = visitor.ask()
        scripted.say("Well")
        visitor.post(asked.stop)
        asked.page()
        wait_until(lambda: not app.extensions["runner"].live)
        assert telemetry.named("signed up").attributes["user"]
        assert telemetry.named("stop").attributes["run"] == str(the_run(app).id)
        assert telemetry.named("run").attributes["run.outcome"] == "stopped"
        assert "ada@example.com" not in telemetry.everything()
        assert telemetry.value("app.sign_ups") == 1
        assert telemetry.value("app.sign_ins", outcome="ok") == 2
        assert telemetry.value("app.sign_ins", outcome="failed") == 1


def test_queries_and_link_tokens_stay_out_of_spans(app: Flask, ada: Visitor) -> None:
    with collecting(settings_of(app)) as telemetry:
        ada.get("/chat?q=secret-words")
        assert "secret-words" not in telemetry.everything()
        assert telemetry.named("GET /chat").attributes["user.id"] == str(ada.user_id)


TRACEPARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


def test_a_callers_trace_is_continued_only_by_setting(make_app: MakeApp) -> None:
    for trusted in (False, True):
        app = make_app(trust_traceparent=trusted)
        with collecting(settings_of(app)) as telemetry:
            app.test_client().get("/", headers=TRACEPARENT)
            (span,) = telemetry.spans
            assert (f"{span.context.trace_id:032x}" == TRACEPARENT["traceparent"].split("-")[1]) == trusted


def test_health_and_files_are_not_traced_and_a_query_cannot_hide_a_request(app: Flask) -> None:
    with collecting(settings_of(app)) as telemetry:
        for url in ("/livez", "/readyz", "/static/css/tokens.css", "/?x=/livez"):
            app.test_client().get(url, buffered=True)
        assert [span.name for span in telemetry.spans] == ["GET /"]


def test_sampling_keeps_errors_and_answers(
    make_app: MakeApp, scripted: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(trace_sample_rate=0)
    ada = Visitor.signed_in(app, "ada@example.com")
    monkeypatch.setitem(app.view_functions, "home.index", lambda: 1 / 0)
    with collecting(settings_of(app)) as telemetry:
        ada.get("/chat")
        ada.get("/")
        scripted.answer("Yes.")
        answered(app, ada)
        roots = [span.name for span in telemetry.spans if span.parent is None]
        assert sorted(roots) == ["GET /", "POST /chat"]


def test_log_lines_carry_the_trace(app: Flask, ada: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.observability import JSONFormatter

    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(json.loads(JSONFormatter().format(record)))
    logger = logging.getLogger("a.page")
    logger.addHandler(handler)
    monkeypatch.setitem(app.view_functions, "home.index", lambda: logger.warning("hm\nm") or "")
    with collecting(settings_of(app)) as telemetry:
        ada.get("/")
        assert lines[0]["trace_id"] == f"{telemetry.named('GET /').context.trace_id:032x}"


@jobs.task()
def count_sheep(fail: bool) -> None:
    if fail:
        raise RuntimeError("lost one")


def test_a_job_belongs_to_the_trace_of_what_queued_it(
    app: Flask, ada: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.view_functions, "home.index", lambda: count_sheep.enqueue(fail=True) or "")
    with collecting(settings_of(app)) as telemetry:
        ada.get("/")
        work_off(app)
        name = "test_tracing.count_sheep"
        assert f"job {name}" in telemetry.tree(telemetry.named("GET /"))
        assert telemetry.named(f"job {name}").events[0].attributes["exception.type"] == "RuntimeError"
        assert telemetry.value("app.jobs", task=name, outcome="failed") == 1
        assert telemetry.value("app.errors", where="job", type="RuntimeError") == 1
        assert "app.queue.length" in telemetry.points()
