"""Metrics: the documented table is what the application emits."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from engines import Engine
from flask import Flask
from metrics_table import as_markdown
from support import MakeApp, ScriptedModel, Visitor, wait_until
from tracing import collecting, settings_of

from app.observability import metrics
from app.observability.metrics import TABLE

ROOT = Path(__file__).parents[1]
ROWS = {row.name: row for row in TABLE}


def test_the_documented_table_is_the_one_in_the_code() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text("utf-8") == as_markdown(), "run make docs"
    assert len(ROWS) == len(TABLE)


def test_an_answer_is_counted_with_the_documented_labels(
    app: Flask, engine: Engine, ada: Visitor, scripted: ScriptedModel
) -> None:
    with collecting(settings_of(app)) as telemetry:
        scripted.call("my_usage")
        scripted.call("delete_everything")
        scripted.answer("Two", " words")
        ada.ask().page()
        wait_until(lambda: not app.extensions["runner"].live)
        points = telemetry.points()
        for name in points.keys() & ROWS.keys():
            for point in points[name]:
                assert set(point.attributes) == set(ROWS[name].labels), name
        assert telemetry.value("app.runs", outcome="done", error="") == 1
        assert telemetry.value("app.tool_calls", tool="my_usage", outcome="ok") == 1
        assert telemetry.value("app.tool_calls", tool="unknown", outcome="failed") == 1
        assert telemetry.value("app.tokens", model="scripted", direction="output") > 0
        (waited,) = points["app.run.first_token"]
        assert (waited.count, waited.explicit_bounds[7]) == (1, 5)
        assert points["app.run.duration"][0].count == 1
        assert (telemetry.value("app.event_log.size") > 0) == (engine.name == "embedded")  # else it is in Redis
        assert telemetry.value("app.ready", check="database") == 1
        assert telemetry.value("app.limits", of="threads") == settings_of(app).web_threads
        assert points["app.loop.lag"][0].value < 5


def test_a_command_says_nothing_of_readiness(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment's settings are tried by ``flask ready``: what is wrong with them must not page somebody."""
    monkeypatch.setattr(metrics, "_readers", {})
    with click.Context(click.Command("ready")):
        app = make_app()
    with collecting(settings_of(app)) as telemetry:
        assert telemetry.value("app.limits", of="threads") == settings_of(app).web_threads
        assert "app.ready" not in telemetry.points()


def test_a_failing_check_shows_in_the_metrics(app: Flask) -> None:
    with collecting(settings_of(app)) as telemetry:
        app.extensions["readiness"]["disk"] = lambda: "degraded: nearly full"
        app.extensions["runner"].draining = True
        assert telemetry.value("app.ready", check="disk") == 0.5
        assert telemetry.value("app.ready", check="draining") == 0
