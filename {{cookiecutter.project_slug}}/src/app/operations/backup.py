"""``flask backup``: the database and the files of DATA_DIR, encrypted and de-duplicated by restic.

A backup is a snapshot of one folder: a dump, the files, and a manifest with the hashes of all rows and files, which
prove that a restore is the same.
"""

import fcntl
import hashlib
import json
import math
import os
import secrets
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from flask import Flask
from sqlalchemy import URL, exc, make_url, orm, select, text

from app import jobs
from app.chat.models import Conversation, Message
from app.config import read_table, settings
from app.database import new_id, now, reading, transaction
from app.observability import tracing
from app.operations import OperationError, dumps, journey, operating

TAG = "app"
NOT_FILES = ("*.db", "*.db-*", ".backup*", "static")  # of DATA_DIR: databases are dumped, releases bring static files
EXPLAINED = read_table(__file__, "backup.toml")  # what restic says, and what to do about it


def _restic(*arguments: str, cwd: Path | None = None) -> str:
    repository, password = settings().restic_repository, settings().restic_password.get_secret_value()
    if not repository or not password:
        raise OperationError(EXPLAINED["unset"])
    if cwd and ":" not in repository:
        repository = str(Path(repository).absolute())
    environment = os.environ | {"RESTIC_REPOSITORY": repository, "RESTIC_PASSWORD": password}
    try:
        return dumps.run("restic", "--no-cache", *arguments, cwd=cwd, environment=environment)
    except OperationError as error:
        raise next((OperationError(fix) for sign, fix in EXPLAINED.items() if sign in str(error)), error) from error


def _unlocked(*arguments: str) -> str:
    _restic("unlock")  # what a killed process has left; a lock in use stays
    return _restic(*arguments)


@contextmanager
def _folder() -> Iterator[Path]:
    """An empty folder on the disk of DATA_DIR, for one backup or restore at a time; gone afterwards."""
    folder = settings().data_dir.absolute() / ".backup"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OperationError("another backup or restore is at work") from None
        shutil.rmtree(folder, ignore_errors=True)  # what a killed one has left
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def _not_files(folder: str, names: list[str]) -> set[str]:
    repository = Path(settings().restic_repository).absolute()
    return {name for name in names if Path(folder, name) == repository or any(fnmatch(name, p) for p in NOT_FILES)}


def _url() -> URL:
    return make_url(settings().database)


def _file_hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@tracing.tracer.start_as_current_span("backup")
def create() -> str:
    """Make a backup, then let go of those that RESTIC_KEEP does not keep; returns the snapshot's id."""
    started = time.monotonic()
    try:
        _restic("unlock")
    except OperationError as error:
        if "no repository" not in str(error):
            raise
        _restic("init")
    with _folder() as folder:
        rows = dumps.dump(_url(), folder)
        shutil.copytree(folder.parent, folder / "files", ignore=_not_files, copy_function=os.link)
        manifest = {"rows": rows, "files": _file_hashes(folder / "files"), "made_at": now().isoformat()}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        said = _restic("backup", "--json", "--tag", TAG, "--host", TAG, ".", cwd=folder)
    snapshot = str(json.loads(said.splitlines()[-1])["snapshot_id"])
    _restic("forget", "--tag", TAG, "--group-by", "tags", "--prune", *shlex.split(settings().restic_keep))
    jobs.queue().put("backup", {"at": now(), "seconds": time.monotonic() - started, "snapshot": snapshot})
    return snapshot


def snapshots() -> list[dict[str, Any]]:
    """The backups that are kept, as restic describes them."""
    return list(json.loads(_unlocked("snapshots", "--tag", TAG, "--json")))


def last(what: str = "backup") -> datetime | None:
    """When the newest backup, or "drill", was made, as far as the queue's store knows."""
    found = jobs.queue().get(what, peek=True)
    return datetime.fromisoformat(found["at"]) if found else None


def verify() -> None:
    """Read the whole repository and check every byte; raises OperationError when any is wrong."""
    _unlocked("check", "--read-data")


@contextmanager
def _fetched(snapshot: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folder of a backup, and its manifest, whose file hashes are compared."""
    with _folder() as folder:
        _unlocked("restore", snapshot, "--tag", TAG, "--target", str(folder))
        manifest = json.loads((folder / "manifest.json").read_text())
        _must_equal(manifest["files"], _file_hashes(folder / "files"), "files")
        yield folder, manifest


def _must_equal(wanted: dict[str, str], found: dict[str, str], what: str) -> None:
    if wrong := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
        raise OperationError(f"restored {what} differ from the backup: {', '.join(wrong[:10])}")


def restore(snapshot: str, overwrite: bool) -> None:
    """Put the database and the files back as they were; files that the backup does not know are left alone."""
    if not overwrite and _holds_data():
        raise OperationError("there are accounts or files here already; --yes overwrites them")
    with _fetched(snapshot) as (folder, manifest):
        dumps.load(folder, _url())
        shutil.copytree(folder / "files", settings().data_dir, dirs_exist_ok=True)
        _must_equal(manifest["rows"], dumps.hashes(_url()), "rows")


def _holds_data() -> bool:
    with suppress(exc.SQLAlchemyError), reading() as session:  # no such table, or no such database: nothing to lose
        if session.scalar(text("SELECT 1 FROM users LIMIT 1")):
            return True
    folder = settings().data_dir.absolute()
    names = [path.name for path in folder.glob("*")]
    return bool(set(names) - _not_files(str(folder), names))


@tracing.tracer.start_as_current_span("restore drill")
def drill(snapshot: str) -> dict[str, float]:
    """Restore into a scratch copy, compare hashes, migrate it, sign in and open a conversation; returns the seconds."""
    from app import create_app

    times, started = {}, time.monotonic()
    with _fetched(snapshot) as (folder, manifest), dumps.scratch(_url(), folder) as url:
        dumps.load(folder, url)
        _must_equal(manifest["rows"], dumps.hashes(url), "rows")
        times["restored"] = time.monotonic() - started
        changes: dict[str, Any] = {"app_env": "development", "secret_key": secrets.token_urlsafe(48), "model": "demo"}
        changes |= {"database_url": url.render_as_string(hide_password=False), "data_dir": folder / "files"}
        app = create_app(type(settings()).model_validate(settings().model_dump() | changes | {"trusted_hosts": ()}))
        with app.app_context():
            app.extensions["alembic"].upgrade()
        client = journey.within(app)
        with journey.someone(app, client) as (user_id, _):
            with app.app_context(), transaction() as session:
                page, shown = _given_to(session, user_id)
            journey.must(client.get(page, headers={"Accept": "text/html"}), "a conversation", shows=shown)
        times["usable"] = time.monotonic() - started
    jobs.queue().put("drill", {"at": now()} | times)
    return times


def _given_to(session: orm.Session, user_id: UUID) -> tuple[str, str]:
    """Give the newest conversation, or a new one if there is none, to a user; its page, and what that shows."""
    kept = select(Conversation).where(Conversation.deleted_at.is_(None), Conversation.head_id.is_not(None))
    conversation = session.scalar(kept.order_by(Conversation.updated_at.desc()).limit(1))
    if conversation is None:
        conversation = Conversation(id=new_id(), user_id=user_id, title="Drill", head_id=new_id())
        session.add(conversation)
        session.flush()
        mine = {"conversation_id": conversation.id, "user_id": user_id}
        session.add(Message(id=conversation.head_id, role="user", text="Still there?", **mine))
    conversation.user_id = user_id
    return f"/chat/{conversation.id}", f'id="m{conversation.head_id}"'


def age(app: Flask, what: str) -> float | None:
    """Seconds since the newest backup or drill, endless before the first; None where there are no backups."""
    with app.app_context():
        if not settings().restic_repository:
            return None
        made = last(what)
        return (now() - made).total_seconds() if made else math.inf


@jobs.periodic(every=timedelta(hours=1))
def create_if_due() -> None:
    """A backup every BACKUP_EVERY_HOURS; one that failed is made up for within the hour."""
    every = timedelta(hours=settings().backup_every_hours)
    made = last()
    if settings().restic_repository and every and not (made and now() - made < every - timedelta(minutes=5)):
        create()


@jobs.periodic(every=timedelta(days=7))
def verify_weekly() -> None:
    if last():
        verify()


@click.group("backup")
def group() -> None:
    """Back up the database and DATA_DIR into RESTIC_REPOSITORY."""


@group.command("create")
@operating()
def create_command() -> None:
    """Make a backup; the first one makes the repository."""
    click.echo(f"made {create()[:8]}")


@group.command("list")
@operating()
def list_command() -> None:
    """Show the backups that are kept."""
    for found in snapshots():
        click.echo(f"{found['short_id']} {found['time'][:19]}")


@group.command("verify")
@operating()
def verify_command() -> None:
    """Read and check every byte of the repository."""
    verify()
    click.echo("every backup can be read")


@group.command("restore")
@click.argument("snapshot", default="latest")
@click.option("--yes", is_flag=True, help="Overwrite what is here.")
@operating()
def restore_command(snapshot: str, yes: bool) -> None:
    """Put the database and the files back as they were."""
    restore(snapshot, yes)
    click.echo(f"restored {snapshot}: all rows and files have the hashes they had; run `flask db upgrade`, restart")


@group.command("drill")
@click.argument("snapshot", default="latest")
@operating()
def drill_command(snapshot: str) -> None:
    """Restore into a scratch copy and use it; says how long that took (the RTO)."""
    times = drill(snapshot)
    click.echo(f"hashes equal after {times['restored']:.1f} s, signed in after {times['usable']:.1f} s")
