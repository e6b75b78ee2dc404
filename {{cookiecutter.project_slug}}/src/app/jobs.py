"""Work outside of requests, by Huey: jobs that are queued and jobs on a schedule.

``@task`` and ``@periodic`` make a plain function a job. Calling it runs it here; ``enqueue`` elsewhere, once the open
transaction has committed. Jobs wait in the database's own engine or where JOBS_URL says: a file next to SQLite,
worked on by threads of the web process, else PostgreSQL or Redis, worked on by any number of ``flask jobs`` processes.
A job is tried again with growing delays; one that fails for good is kept and shown by ``flask jobs dead``.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, ParamSpec, cast

import click
import logfire
from flask import Flask, cli, current_app
from huey import Huey, consumer, registry, serializer, signals, storage, utils
from pydantic import validate_call
from pydantic_core import to_json, to_jsonable_python
from sqlalchemy import make_url

from app.config import Settings
from app.database import after_commit, now
from app.observability import metrics, tracing

logger = logging.getLogger(__name__)
Parameters = ParamSpec("Parameters")

FIRST_DELAY, BACKOFF = 10, 3  # seconds before the second attempt, and how much longer each further wait is
THREADS = 2
IDLE_SECONDS = 0.5  # between two looks at a store that cannot wake its workers
KEEP_DEAD = timedelta(days=30)
SILENT_AFTER = timedelta(minutes=5)


@dataclass(eq=False)
class Job(Generic[Parameters]):
    """A function that can be queued; its arguments must be JSON values, or become so and back by their annotations."""

    function: Callable[Parameters, object]
    retries: int
    every: timedelta | None = None
    delay: timedelta | None = None
    registry: ClassVar[dict[str, "Job[...]"]] = {}

    def __post_init__(self) -> None:
        self.name = f"{self.function.__module__}.{self.function.__name__}"
        self.registry[self.name] = self

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> object:
        return self.function(*args, **kwargs)

    def enqueue(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        """Queue a call. It goes out when the open transaction commits, a rollback forgets it."""
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        arguments = to_jsonable_python(args), to_jsonable_python(kwargs), logfire.get_context()
        after_commit(lambda: _send_or_run(app, self, *arguments))


def task(retries: int = 0, delay: timedelta | None = None) -> Callable[[Callable[Parameters, object]], Job[Parameters]]:
    """Make a function a job that is tried up to *retries* more times, and first a *delay* after it was queued."""
    return lambda function: Job(function, retries, delay=delay)


def periodic(every: timedelta, retries: int = 0) -> Callable[[Callable[[], object]], Job[[]]]:
    """Make a function a job that runs once in each span of *every* since 1970, however many processes there are."""
    return lambda function: Job(function, retries, every)


class _JSON(serializer.Serializer):  # type: ignore[misc]
    """What waits in a store is data: whoever writes there cannot make us run code, as they could with pickle."""

    def _serialize(self, data: Any) -> bytes:
        return to_json(data._asdict() if isinstance(data, registry.Message) else data)

    def _deserialize(self, data: bytes) -> Any:
        value = json.loads(bytes(data))
        if isinstance(value, dict) and value.keys() == set(registry.Message._fields):
            value["eta"] = value["eta"] and datetime.fromisoformat(value["eta"])
            return registry.Message(**value)
        return value


class Queue(Huey):  # type: ignore[misc]
    """The queue of one application."""

    def __init__(self, app: Flask):
        store, options = _store(app.extensions["settings"])
        super().__init__("app", results=False, serializer=_JSON(), storage_class=store, **options)
        self.slots: dict[str, int] = {}
        self.run = self.task(name="run")(lambda *call: _run(app, *call))
        self.signal(signals.SIGNAL_ERROR)(self._bury)

    def send(self, job: Job[...], args: Iterable[Any] = (), kwargs: Any = None, trace: Any = None) -> None:
        call = self.run.s(job.name, args, kwargs or {}, trace or {})
        call.retries, call.retry_delay, call.retry_backoff = job.retries, FIRST_DELAY, BACKOFF
        call.eta = utils.normalize_time(None, job.delay, self.utc) if job.delay else None
        self.enqueue(call)

    def _bury(self, signal: str, call: Any, error: Exception) -> None:
        if not call.retries:
            name, args, kwargs, _ = call.args
            told = {"job": name, "args": args, "kwargs": kwargs, "error": repr(error), "at": now()}
            self.put(f"dead:{call.id}", told)

    def entries(self, prefix: str) -> dict[str, Any]:
        """What is stored under keys that begin with *prefix*."""
        items = ((key.decode() if isinstance(key, bytes) else key, value) for key, value in self.all_results().items())
        return {key: self.serializer.deserialize(value) for key, value in items if key.startswith(prefix)}

    def tick(self, moment: datetime) -> None:
        """Queue the periodic jobs whose span has begun at *moment*, unless another process has."""
        for job in Job.registry.values():
            seconds = job.every.total_seconds() if job.every else 0
            slot = int(moment.timestamp() // seconds) if seconds else 0
            if seconds and self.slots.get(job.name) != slot:
                try:
                    if self.put_if_empty(f"tick:{job.name}:{slot}", (slot + 1) * seconds):
                        self.send(job)
                    self.slots[job.name] = slot  # spares the store a question each second
                except Exception:  # whatever it is: the other jobs are still to be queued
                    logger.exception("the periodic job %s could not be queued", job.name)


def _store(settings: Settings) -> tuple[type[storage.BaseStorage], dict[str, Any]]:
    url = make_url(settings.jobs_url or settings.database)
    if url.get_backend_name() == "sqlite":
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        return storage.SqliteStorage, {"filename": str(settings.data_dir / "jobs.db")}
    if url.get_backend_name() == "postgresql":  # its tables are made by a migration: this role may not
        dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        return storage.PostgresStorage, {"dsn": dsn, "create_tables": False}
    return storage.RedisStorage, {"url": settings.jobs_url}


def _run(app: Flask, name: str, args: Iterable[Any], kwargs: dict[str, Any], trace: dict[str, str]) -> None:
    with app.app_context(), logfire.attach_context(trace), tracing.job(name):
        validate_call(Job.registry[name].function)(*args, **kwargs)


def _send_or_run(app: Flask, job: Job[...], *call: Any) -> None:
    try:
        with app.app_context():
            queue().send(job, *call)
    except Exception:  # the caller's work is done and committed: its job runs here, once, rather than never
        logger.exception("the job %s could not be queued; it runs in this process", job.name)
        threading.Thread(target=_run, args=(app, job.name, *call), daemon=True).start()


def queue() -> Queue:
    """The queue of the current application; its store is opened on first use."""
    if "jobs" not in current_app.extensions:
        current_app.extensions["jobs"] = Queue(current_app._get_current_object())  # type: ignore[attr-defined]
    return cast("Queue", current_app.extensions["jobs"])


class _Clock(consumer.Scheduler):  # type: ignore[misc]
    periodic_task_seconds = 1

    def enqueue_periodic_tasks(self, moment: datetime | None) -> None:
        self.huey.tick(moment or now())


class _Consumer(consumer.Consumer):  # type: ignore[misc]
    scheduler_class = _Clock
    embedded = False

    def _set_signal_handlers(self) -> None:
        if not self.embedded:  # else the signals are the web server's
            super()._set_signal_handlers()


def start_embedded(app: Flask, patience: float) -> Callable[[], None]:
    """Work on jobs in threads of this process if they wait in SQLite.

    Returns:
        What stops it, having waited up to *patience* seconds for jobs that run.
    """
    with app.app_context():
        if not isinstance(queue().storage, storage.SqliteStorage):
            return lambda: None
        workers = _Consumer(queue(), workers=THREADS, max_delay=IDLE_SECONDS, shutdown_timeout=patience)
    workers.embedded = True
    workers.start()
    return lambda: workers.stop(graceful=True)


@periodic(every=timedelta(minutes=1))
def beat() -> None:
    """Shows that schedule, queue and a worker work."""
    queue().put("beat", now())


@periodic(every=timedelta(days=1))
def tidy() -> None:
    """Forget which spans were served, and jobs that failed long ago."""
    yesterday = (now() - timedelta(days=1)).timestamp()
    old = [key for key, end in queue().entries("tick:").items() if end < yesterday]
    old += [key for key, job in dead().items() if now() - datetime.fromisoformat(job["at"]) > KEEP_DEAD]
    for key in old:
        queue().delete(key)


def dead() -> dict[str, dict[str, Any]]:
    """Jobs that have failed for good: job, args, kwargs, error and at, by key."""
    return queue().entries("dead:")


def _waiting(app: Flask) -> int:
    with app.app_context():
        return int(queue().pending_count())


def _ready() -> str:
    try:
        last = queue().get("beat", peek=True)
        failed = len(dead())
    except Exception as error:
        return f"degraded: {type(error).__name__}"
    if last and now() - datetime.fromisoformat(last) > SILENT_AFTER:
        return f"degraded: no job has run since {last}; is `flask jobs` running?"
    return f"degraded: {failed} jobs failed for good; see `flask jobs dead`" if failed else "ok"


@click.group("jobs", cls=cli.AppGroup, invoke_without_command=True)
@cli.with_appcontext
def group() -> None:
    """Work on jobs until told to stop; SIGTERM lets those that run finish."""
    if click.get_current_context().invoked_subcommand is None:
        _Consumer(queue(), workers=THREADS, max_delay=IDLE_SECONDS, graceful_signal="TERM").run()


@group.command("dead")
def list_dead() -> None:
    """Show the jobs that failed for good."""
    for key, job in dead().items():
        told = " ".join(str(job[name]) for name in ("at", "job", "args", "kwargs"))
        click.echo(f"{key.removeprefix('dead:')} {told}: {job['error']}")


@group.command("retry")
def retry_dead() -> None:
    """Queue the jobs that failed for good once more."""
    for key, job in dead().items():
        queue().send(Job.registry[job["job"]], job["args"], job["kwargs"])
        queue().delete(key)


def init_app(app: Flask) -> None:
    logging.getLogger("huey").setLevel(logging.WARNING)
    app.extensions["readiness"]["jobs"] = _ready
    metrics.watch("app.queue.length", lambda: _waiting(app))
    app.cli.add_command(group)
