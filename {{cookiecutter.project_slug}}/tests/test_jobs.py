"""Jobs: queued after the commit, tried again, buried when they fail for good, and once per tick of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from engines import Engine
from flask import Flask
from sqlalchemy import select, update
from support import MakeApp, Visitor, wait_until, work_off

from app import jobs
from app.accounts.models import User
from app.database import db, new_id, now, transaction

done: list[object] = []
broken = [True]


@jobs.task()
def note(what: str, row_id: UUID | None = None) -> None:
    done.append((what, row_id))


@jobs.task(retries=2)
def fragile(what: str) -> None:
    done.append(what)
    if broken:
        raise RuntimeError("no luck")


@jobs.periodic(every=timedelta(minutes=1))
def chime() -> None:
    done.append("chime")


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()
    broken[:] = [True]


def test_a_job_runs_in_place_when_it_is_called(app: Flask) -> None:
    note("here")
    assert done == [("here", None)]


def test_a_queued_job_gets_its_arguments_as_they_were(app: Flask) -> None:
    row_id = new_id()
    with app.app_context():
        note.enqueue("later", row_id=row_id)
        assert done == []
    work_off(app)
    assert done == [("later", row_id)]


def test_a_job_waits_for_the_transaction_and_a_rollback_forgets_it(app: Flask, ada: Visitor) -> None:
    with app.app_context():
        with transaction() as session:
            session.execute(update(User).values(active=True))
            note.enqueue("committed")
            work_off(app)
            assert done == []
        with transaction() as session:
            session.execute(update(User).values(active=True))
            note.enqueue("undone")
            session.rollback()
    work_off(app)
    assert done == [("committed", None)]


def test_a_request_that_only_reads_still_sends_its_jobs(app: Flask, ada: Visitor) -> None:
    with app.app_context():
        db.session.scalars(select(User)).all()
        note.enqueue("read")
        work_off(app)
        assert done == []
    work_off(app)
    assert done == [("read", None)]


def test_a_failing_job_is_tried_again_later_and_later_and_then_buried(app: Flask) -> None:
    with app.app_context():
        fragile.enqueue("try")
        work_off(app)
        assert len(done) == 1
        (first,) = jobs.queue().scheduled()
        work_off(app, first.eta)
        assert len(done) == 2
        (second,) = jobs.queue().scheduled()
        assert second.eta - first.eta > timedelta(seconds=2 * jobs.FIRST_DELAY)
        assert jobs.dead() == {}
        work_off(app, second.eta)
        assert len(done) == 3
        assert [(job["job"], job["args"], job["error"]) for job in jobs.dead().values()] == [
            (fragile.name, ["try"], "RuntimeError('no luck')")
        ]


def test_a_buried_job_is_shown_and_can_be_queued_again(app: Flask, ada: Visitor) -> None:
    with app.app_context():
        fragile.enqueue("buried")
        for _ in range(3):
            work_off(app, datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1))
    assert "flask jobs dead" in ada.get("/readyz").json["checks"]["jobs"]
    shown = app.test_cli_runner().invoke(args=["jobs", "dead"]).output
    assert "buried" in shown
    assert "no luck" in shown
    broken.clear()
    assert app.test_cli_runner().invoke(args=["jobs", "retry"]).exit_code == 0
    work_off(app)
    assert done == ["buried"] * 4
    assert app.test_cli_runner().invoke(args=["jobs", "dead"]).output == ""
    assert ada.get("/readyz").json["checks"]["jobs"] == "ok"


@pytest.mark.parametrize("store", ["", "redis_url"])
def test_of_three_processes_one_runs_each_tick(make_app: MakeApp, engine: Engine, store: str) -> None:
    apps = [make_app(jobs_url=engine.settings.get(store, "")) for _ in range(3)]
    start = datetime(2026, 5, 1, tzinfo=UTC)
    for second in range(0, 3600, 20):
        for app in apps:
            with app.app_context():
                jobs.queue().tick(start + timedelta(seconds=second))
    for app in apps:
        work_off(app)
    assert done == ["chime"] * 60


def test_served_ticks_and_old_failures_are_forgotten(app: Flask) -> None:
    with app.app_context():
        queue = jobs.queue()
        queue.tick(now() - timedelta(days=9))
        queue.tick(now())
        ticks = len(queue.entries("tick:"))
        queue.put("dead:old", {"job": "x", "at": now() - jobs.KEEP_DEAD - timedelta(days=1)})
        jobs.tidy()
        assert 0 < len(queue.entries("tick:")) < ticks
        assert jobs.dead() == {}


def test_without_a_store_a_job_runs_in_this_process(make_app: MakeApp) -> None:
    app = make_app(jobs_url="redis://127.0.0.1:1/0")
    with app.app_context():
        note.enqueue("here after all")
    wait_until(lambda: done == [("here after all", None)])
