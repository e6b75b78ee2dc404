"""The database: migrations fit the models, ids are in order, writers wait for one another and readers do not."""

from __future__ import annotations

import threading
import time
from uuid import UUID

import pytest
from flask import Flask
from live import ROOT
from mako.template import Template
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError
from support import MakeApp, Visitor

from app.accounts.models import User
from app.database import new_id, reading, transaction


def test_the_migrations_make_what_the_models_describe(app: Flask) -> None:
    with app.app_context():
        assert app.extensions["alembic"].compare_metadata() == []


def test_every_migration_can_be_undone_and_done_again(app: Flask) -> None:
    with app.app_context():
        app.extensions["alembic"].downgrade("base")
        app.extensions["alembic"].upgrade()
        assert app.extensions["alembic"].compare_metadata() == []


def test_a_revision_that_only_merges_can_be_written() -> None:
    template = Template(filename=str(ROOT / "src/app/migrations/script.py.mako"))  # noqa: S702
    written = template.render(
        message="Merge", up_revision="3", down_revision=("1", "2"), branch_labels=None, depends_on=None
    )
    assert "down_revision = ('1', '2')" in written
    compile(written, "merge.py", "exec")


def test_ids_are_version_7_unique_and_in_order() -> None:
    first = [new_id() for _ in range(1000)]
    assert first == sorted(set(first))
    assert all(
        isinstance(value, UUID) and value.version == 7 and value.variant.startswith("specified") for value in first
    )


def test_no_update_is_lost_between_writers(app: Flask, ada: Visitor) -> None:
    with app.app_context(), transaction() as session:
        session.execute(update(User).values(fs_uniquifier="0"))

    def add() -> None:
        for _ in range(20):
            with app.app_context(), transaction() as session:
                user = session.scalars(select(User).with_for_update()).one()
                user.fs_uniquifier = str(int(user.fs_uniquifier) + 1)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ada.rows(select(User.fs_uniquifier)) == ["160"]


def test_a_page_does_not_wait_for_a_writer(app: Flask, ada: Visitor) -> None:
    with app.app_context(), transaction() as session:
        session.execute(update(User).values(active=True))
        started = time.monotonic()
        assert ada.get("/chat").status_code == 200
        assert time.monotonic() - started < 2


def test_the_reader_cannot_write(app: Flask, ada: Visitor) -> None:
    with app.app_context(), reading() as session, pytest.raises(DBAPIError, match=r"read-?only"):
        session.execute(update(User).values(is_admin=True))


def test_foreign_keys_are_enforced(app: Flask, ada: Visitor) -> None:
    with app.app_context(), transaction() as session:
        session.execute(text("DELETE FROM users"))
        assert session.scalar(text("SELECT count(*) FROM user_sessions")) == 0


def test_errors_carry_no_parameters(make_app: MakeApp) -> None:
    with make_app().app_context(), transaction() as session, pytest.raises(DBAPIError) as caught:
        session.execute(text("SELECT * FROM nothing WHERE x = :x"), {"x": "ada@example.com"})
    assert "ada@example.com" not in str(caught.value)
