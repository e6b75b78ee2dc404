"""The metrics of ``metrics.toml``: ``add`` counts, ``record`` measures, ``watch`` is asked at every export."""

import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

Reading = float | None | Iterable[tuple[float, dict[str, str]]]
_meter = metrics.get_meter("app")
_readers: dict[str, Callable[[], Reading]] = {}


class Metric(NamedTuple):
    """One row of the table; a histogram has the bounds of its buckets."""

    name: str
    kind: str
    unit: str
    reason: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()


def _table() -> Iterator[Metric]:
    rows: dict[str, Any] = tomllib.loads(Path(__file__).with_name("metrics.toml").read_text("utf-8"))
    for name, row in rows.items():
        yield Metric(name, row["kind"], row["unit"], row["reason"], tuple(row["labels"]), tuple(row.get("buckets", ())))


def _observe(name: str, _: CallbackOptions) -> Iterator[Observation]:
    value = _readers.get(name, lambda: None)()
    for number, labels in [(value, {})] if isinstance(value, int | float) else value or ():
        yield Observation(number, labels)


def _instrument(row: Metric) -> Any:
    if row.kind == "gauge":
        return _meter.create_observable_gauge(row.name, [partial(_observe, row.name)], row.unit, row.reason)
    bounds = {"explicit_bucket_boundaries_advisory": row.buckets} if row.buckets else {}
    return getattr(_meter, f"create_{row.kind}")(row.name, row.unit, row.reason, **bounds)


TABLE = tuple(_table())
_instruments = {row.name: _instrument(row) for row in TABLE}


def add(name: str, amount: float = 1, **labels: str) -> None:
    """Count *amount* more."""
    _instruments[name].add(amount, labels)


def record(name: str, value: float, **labels: str) -> None:
    """Note one value of a histogram."""
    _instruments[name].record(value, labels)


def watch(name: str, read: Callable[[], Reading]) -> None:
    """Ask *read* from now on: a number, None for nothing to say, or pairs of a number and its labels."""
    _readers[name] = read
