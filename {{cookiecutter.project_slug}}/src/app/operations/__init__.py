"""Operators' commands: clean-up, backups and the production checklist. They need only the settings they use."""

from collections.abc import Iterator
from contextlib import contextmanager
from sqlite3 import Error as SQLiteError

import click
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app import config, database, jobs, observability
from app.observability import metrics


class OperationError(Exception):
    """Something an operator has to put right; the text says how."""


@contextmanager
def operating() -> Iterator[None]:
    """For a command: an application with nothing but settings, a database and jobs, where the whole one may refuse to
    start. Errors that are not ours become one line and exit status 1."""
    try:
        app = Flask("app")
        config.init_app(app, config.load(strict=False))
        app.extensions["readiness"] = {}
        observability.configure(app.extensions["settings"])
        database.init_app(app)
        jobs.init_app(app)
        with app.app_context():
            yield
    except (OperationError, config.SettingsError, OSError, SQLiteError, SQLAlchemyError) as error:
        raise click.ClickException(str(error)) from error


def init_app(app: Flask) -> None:
    from app.operations import backup, cleanup  # noqa: F401 (their jobs are known from now on)

    metrics.watch("app.backup.age", lambda: backup.age(app, "backup"))
    metrics.watch("app.backup.drill.age", lambda: backup.age(app, "drill"))
