"""Every metric of the application: its name, unit, why it is there, and its labels.

``docs/metrics.md`` is made from this file (``make docs``), and tests compare dashboards and alert rules with it. Labels
are few and bounded: never a user, a conversation or a text.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Observation

WAITS = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60)  # 5 seconds are the objective of the first words
DURATIONS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900)
Reading = float | None | Iterable[tuple[float, dict[str, str]]]
_meter = metrics.get_meter("app")


class Metric(NamedTuple):
    """One row of the table; a unit in braces is an annotation."""

    name: str
    kind: str
    unit: str
    reason: str
    labels: tuple[str, ...]


TABLE: list[Metric] = []


def _counter(name: str, unit: str, reason: str, *labels: str) -> Counter:
    TABLE.append(Metric(name, "counter", unit, reason, labels))
    return _meter.create_counter(name, unit, reason)


def _histogram(name: str, unit: str, reason: str, buckets: Iterable[float], *labels: str) -> Histogram:
    TABLE.append(Metric(name, "histogram", unit, reason, labels))
    return _meter.create_histogram(name, unit, reason, explicit_bucket_boundaries_advisory=list(buckets))


class Gauge:
    """A value that is asked for at every export; the room that knows it says how by ``watch``."""

    def __init__(self, name: str, unit: str, reason: str, *labels: str):
        self._read: Callable[[], Reading] = lambda: None
        TABLE.append(Metric(name, "gauge", unit, reason, labels))
        _meter.create_observable_gauge(name, [self._observe], unit, reason)

    def watch(self, read: Callable[[], Reading]) -> None:
        """Ask *read* from now on: a number, None for nothing to say, or pairs of a number and its labels."""
        self._read = read

    def _observe(self, _: CallbackOptions) -> Iterator[Observation]:
        value = self._read()
        for number, labels in [(value, {})] if isinstance(value, int | float) else value or ():
            yield Observation(number, labels)


# What people do
SIGN_UPS = _counter("app.sign_ups", "{account}", "growth; a flood is an attack")
SIGN_INS = _counter("app.sign_ins", "{attempt}", "failures that rise are guessed passwords", "outcome")
FEEDBACK = _counter("app.feedback", "{vote}", "whether answers help", "rating")
EXPORTS = _counter("app.exports", "{export}", "use, and data leaving", "format")
PUSHES = _counter("app.pushes", "{message}", "delivery of notifications", "outcome")
# Answers
RUNS = _counter("app.runs", "{run}", "answers by how they ended", "outcome", "error")
FIRST_TOKEN = _histogram("app.run.first_token", "s", "from the question to the first words; an objective", WAITS)
RUN_DURATION = _histogram("app.run.duration", "s", "from the question to the saved answer", DURATIONS, "outcome")
TOKENS = _counter("app.tokens", "{token}", "what is paid for", "model", "direction")
COST = _counter("app.cost.usd", "{USD}", "spend; answers whose price is not known are not in it", "model")
TOOL_CALLS = _counter("app.tool_calls", "{call}", "tools that fail, or are called too often", "tool", "outcome")
# Work behind the scenes
ERRORS = _counter("app.errors", "{error}", "exceptions nobody handled", "type", "where")
JOBS = _counter("app.jobs", "{job}", "background work by outcome", "task", "outcome")
JOB_DURATION = _histogram("app.job.duration", "s", "background work that slows down", DURATIONS, "task")
CLEANED = _counter("app.cleanup.rows", "{row}", "whether retention is kept", "what")
# Saturation
READY = Gauge("app.ready", "{state}", "each check of /readyz: 1 ok, 0.5 degraded, 0 failed", "check")
STREAMS = Gauge("app.streams.open", "{stream}", "event streams of a worker, against its limit")
RUNS_LIVE = Gauge("app.runs.live", "{run}", "answers a worker is writing, against its limit")
LIMITS = Gauge("app.limits", "{limit}", "the limits of a worker, to divide by", "of")
LOOP_LAG = Gauge("app.loop.lag", "s", "how late the loop that writes all answers is")
EVENT_LOG = Gauge("app.event_log.size", "By", "memory that the event log of a worker holds")
POOL = Gauge("app.database.pool.used", "{connection}", "database connections in use, against the pool's size", "engine")
POOL_SIZE = Gauge("app.database.pool.size", "{connection}", "database connections a worker may have", "engine")
REPLICATION_LAG = Gauge("app.database.replication.lag", "s", "how far the farthest replica is behind")
QUEUE = Gauge("app.queue.length", "{job}", "background work that waits")
BACKUP_AGE = Gauge("app.backup.age", "s", "since the last backup that succeeded")
DRILL_AGE = Gauge("app.backup.drill.age", "s", "since a backup was last restored for practice")
