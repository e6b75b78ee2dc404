"""The operators' page: figures without people, for administrators only, and off by setting."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest
from flask import Flask
from sqlalchemy import select
from support import MakeApp, ScriptedModel, Visitor, sign_in, wait_until

from app.accounts.models import User
from app.admin.activity import DailyActivity, WeeklyRetention, count_day, roll_up
from app.chat.models import Feedback, Run
from app.database import db, id_at, new_id, now, reading, transaction


def grant(app: Flask, email: str, *options: str) -> str:
    return str(app.test_cli_runner().invoke(args=["admin", email, *options]).output)


def answered(app: Flask, visitor: Visitor, scripted: ScriptedModel, *words: str) -> None:
    scripted.answer(*words)
    visitor.ask().page()
    wait_until(lambda: not app.extensions["runner"].live)


def test_only_administrators_see_the_page(app: Flask, ada: Visitor, bob: Visitor) -> None:
    assert "is now an administrator" in grant(app, "ada@example.com")
    assert ada.get("/admin/activity").status_code == 200
    assert bob.get("/admin/activity").status_code == 404
    assert Visitor(app).get("/admin/activity").status_code == 302
    grant(app, "ada@example.com", "--revoke")
    assert ada.get("/admin/activity").status_code == 404


def test_an_address_without_an_account_is_said(app: Flask) -> None:
    assert "has to sign up first" in grant(app, "nobody@example.com")


def test_the_first_account_needs_no_mail(app: Flask) -> None:
    said = grant(app, "first@example.com", "--new")
    assert "is now an administrator" in said
    password = said.split("is ")[1].split()[0]
    visitor = Visitor(app)
    sign_in(visitor, "first@example.com", password)
    assert visitor.get("/admin/activity").status_code == 200
    assert "password" not in grant(app, "first@example.com", "--new"), "an account that is there keeps its own"


def test_days_are_counted_and_drawn_without_people(
    app: Flask, ada: Visitor, bob: Visitor, scripted: ScriptedModel
) -> None:
    answered(app, ada, scripted, "One.")
    answered(app, ada, scripted, "Two.")
    scripted.fail(RuntimeError("no"))
    bob.ask("a private question").page()
    wait_until(lambda: not app.extensions["runner"].live)
    with app.app_context():
        with transaction() as session:
            session.add(Feedback(message_id=session.scalars(select(Run.answer_id)).first(), rating=1))
        roll_up()
        day = db.session.get(DailyActivity, now().date())
        assert (day.active_users, day.new_users, day.conversations) == (2, 2, 3)
        assert (day.answers, day.errors, day.liked, day.disliked) == (2, 1, 1, 0)
        assert day.output_tokens > 0
    grant(app, "ada@example.com")
    page = ada.get("/admin/activity").text
    assert f"{now().date()}: 2 complete" in page
    assert f"{now().date()}: 1 failed or cut off" in page
    for private in ("bob@example.com", str(bob.user_id), "private"):
        assert private not in page
    assert not re.search(r"\sstyle=", page)


def test_weeks_say_how_many_came_back(app: Flask, ada: Visitor, scripted: ScriptedModel) -> None:
    answered(app, ada, scripted, "One.")
    with app.app_context():
        last_week = now().date() - timedelta(days=7)
        with transaction() as session:
            session.add(User(id=id_at(last_week), email="old@example.com", password="-", fs_uniquifier="x"))
        roll_up()
        rows = {(row.cohort, row.week): row for row in db.session.scalars(select(WeeklyRetention))}
        this = now().date() - timedelta(days=now().weekday())
        assert (rows[this, this].signed_up, rows[this, this].active) == (1, 1)
        before = this - timedelta(days=7)
        assert (rows[before, this].signed_up, rows[before, this].active) == (1, 0)


def test_a_day_that_is_over_stays_as_it_was_counted(app: Flask) -> None:
    with app.app_context():
        old = now().date() - timedelta(days=30)
        with transaction() as session:
            session.add(DailyActivity(day=old, answers=7))
        roll_up()
        assert db.session.get(DailyActivity, old).answers == 7
        with reading() as session:
            assert count_day(session, old).answers == 0


def test_ids_of_a_moment_are_below_those_made_after_it() -> None:
    assert id_at(date(2020, 1, 1)) < id_at(now().date()) < new_id() < id_at(now().date() + timedelta(days=1))


def test_analytics_are_off_by_setting(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(analytics=False)
    ada = Visitor.signed_in(app, "ada@example.com")
    grant(app, "ada@example.com")
    assert ada.get("/admin/activity").status_code == 404
    with app.app_context():
        roll_up()
        assert db.session.scalars(select(DailyActivity)).all() == []
