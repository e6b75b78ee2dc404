"""The metrics as Prometheus knows them, and docs/metrics.md (``python tests/metrics_table.py`` prints it)."""

from __future__ import annotations

import re
import sys

from app.observability.metrics import TABLE, Metric

UNIT_SUFFIXES = {"s": "seconds", "By": "bytes"}
# What instrumentation libraries emit and our dashboards and alert rules rely on; the labels as Prometheus names them.
LIBRARIES = {
    Metric("http.server.request.duration", "histogram", "s", "latency, traffic and errors of requests; a stream counts "
           "until its headers", ("http_route", "http_request_method", "http_response_status_code")): "Flask",
    Metric("http.server.active_requests", "up-down counter", "{request}", "request threads in use",
           ("http_request_method",)): "Flask",
    Metric("gen_ai.client.token.usage", "histogram", "{token}", "tokens of each model request",
           ("gen_ai_request_model", "gen_ai_token_type")): "Pydantic AI",
    Metric("process.memory.usage", "up-down counter", "By", "resident memory: growth", ()): "system metrics",
    Metric("process.cpu.utilization", "gauge", "1", "processor time of a worker", ()): "system metrics",
    Metric("process.thread.count", "up-down counter", "{thread}", "threads of a worker: leaks", ()): "system metrics",
    Metric("process.open_file_descriptor.count", "up-down counter", "{count}", "descriptors of a worker: streams and "
           "leaks", ()): "system metrics",
}  # fmt: skip
PROBES = {"probe_success", "probe_ssl_earliest_cert_expiry"}  # of the blackbox exporter
HEAD = """\
# Metrics

Made by `make docs` from `src/app/observability/metrics.toml`; the Prometheus name is what its OTLP receiver makes of
the OpenTelemetry name. A histogram's series end in `_bucket`, `_count` and `_sum`.

| OpenTelemetry | Prometheus | kind | unit | labels | why |
| --- | --- | --- | --- | --- | --- |
"""


def prometheus_name(row: Metric) -> str:
    """The name that the OTLP receiver of Prometheus gives a metric."""
    suffix = UNIT_SUFFIXES.get(row.unit, "ratio" if (row.unit, row.kind) == ("1", "gauge") else "")
    name = "_".join(filter(None, (re.sub(r"\W", "_", row.name), suffix)))
    return f"{name}_total" if row.kind == "counter" else name


def series() -> dict[str, set[str]]:
    """The labels of every series that Prometheus can know from this application."""
    found = {}
    for row in [*LIBRARIES, *TABLE]:
        histogram = row.kind == "histogram"
        for ending in ("_bucket", "_count", "_sum") if histogram else ("",):
            found[prometheus_name(row) + ending] = set(row.labels) | ({"le"} if ending == "_bucket" else set())
    return found


def as_markdown() -> str:
    lines, by = [], {row.name: library for row, library in LIBRARIES.items()}
    for row in [*LIBRARIES, *TABLE]:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        why = f"{row.reason} (by {by[row.name]})" if row.name in by else row.reason
        lines.append(f"| `{row.name}` | `{prometheus_name(row)}` | {row.kind} | `{row.unit}` | {labels} | {why} |\n")
    return HEAD + "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
