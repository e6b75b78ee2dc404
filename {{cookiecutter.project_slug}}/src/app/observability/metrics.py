"""The metrics of ``metrics.toml``: ``add`` counts, ``record`` measures, ``watch`` is asked at every export."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from opentelemetry import metrics

from app.config import read_table

Reading = float | None | Iterable[tuple[float, dict[str, str]]]
_meter = metrics.get_meter("app")
_readers: dict[str, Callable[[], Reading]] = {}


class Metric(NamedTuple):
    """One row of the table; a histogram has the bounds of its buckets."""

    name: str
    kind: str
    unit: str
    reason: str
    labels: Sequence[str]
    buckets: Sequence[float] = ()


def _observe(name: str, _: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
    value = _readers.get(name, lambda: None)()
    for number, labels in [(value, {})] if isinstance(value, int | float) else value or ():
        yield metrics.Observation(number, labels)


def _instrument(row: Metric) -> Any:
    if row.kind == "gauge":
        return _meter.create_observable_gauge(row.name, [partial(_observe, row.name)], row.unit, row.reason)
    bounds = {"explicit_bucket_boundaries_advisory": row.buckets} if row.buckets else {}
    return getattr(_meter, f"create_{row.kind}")(row.name, row.unit, row.reason, **bounds)


TABLE = [Metric(name, **row) for name, row in read_table(__file__, "metrics.toml").items()]
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
