"""Spans and metrics as a backend would get them, for the tests of observability."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import logfire
from flask import Flask
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app import observability
from app.config import Settings


class Telemetry:
    """What has been exported so far."""

    def __init__(self) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> ReadableSpan:
        found = [span for span in self.spans if span.name == name]
        assert len(found) == 1, f"{len(found)} spans {name}; there are {[span.name for span in self.spans]}"
        return found[0]

    def tree(self, root: ReadableSpan) -> dict[str, Any]:
        """The names of a span's children, and theirs; calls of the database are left out."""
        children = [span for span in self.spans if span.parent and span.parent.span_id == root.context.span_id]
        return {span.name: self.tree(span) for span in children if "db.system.name" not in span.attributes}

    def everything(self) -> str:
        """All that left the process about spans, to look for what must not."""
        return "\n".join(span.to_json() for span in self.spans)

    def points(self) -> dict[str, list[Any]]:
        """The data points of each metric."""
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        return {metric.name: list(metric.data.data_points) for scope in scopes for metric in scope.metrics}

    def value(self, name: str, **labels: str) -> float:
        """The sum of a counter's points that carry *labels*."""
        points = self.points().get(name, [])
        return sum(point.value for point in points if labels.items() <= dict(point.attributes).items())


@contextmanager
def collecting(settings: Settings) -> Iterator[Telemetry]:
    """Collect what an application with *settings* exports."""
    telemetry = Telemetry()
    observability.configure(settings, SimpleSpanProcessor(telemetry.exporter), readers=[telemetry.reader])
    yield telemetry
    logfire.configure(send_to_logfire=False, console=False)


def settings_of(app: Flask) -> Settings:
    settings: Settings = app.extensions["settings"]
    return settings
