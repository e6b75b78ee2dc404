"""An OTLP receiver on loopback: keeps spans, and shows metrics in Prometheus' text format under ``/metrics``.

It stands where Prometheus' own OTLP receiver is in production, which Debian's builds leave out; names are translated by
that receiver's rules (github.com/prometheus/otlptranslator: underscores, unit suffixes, _total). Run with the
interpreter of a generated project: ``otlp_sink.py PORT``. ``GET /spans`` gives all spans as JSON.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

UNITS = {"s": "seconds", "ms": "milliseconds", "By": "bytes", "1": ""}
KEPT = 60  # seconds a series is shown after its last push
series: dict[tuple[str, str], tuple[float, float]] = {}
spans: list[dict[str, Any]] = []
lock = threading.Lock()


def metric_name(metric: Any) -> str:
    """The name of a metric in Prometheus."""
    unit = "" if "{" in metric.unit else UNITS.get(metric.unit, metric.unit)
    if metric.unit == "1" and metric.HasField("gauge"):
        unit = "ratio"
    words = [word for word in re.split(r"[^a-zA-Z0-9]+", metric.name) if word]
    words += [word for word in [unit] if word and word not in words]
    counter = metric.HasField("sum") and metric.sum.is_monotonic
    return "_".join([word for word in words if not (counter and word == "total")] + ["total"] * counter)


def labels_of(attributes: Any, **more: str) -> str:
    pairs = {re.sub(r"\W", "_", item.key): _text(item.value) for item in attributes} | more
    return ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(pairs.items()))


def _text(value: Any) -> str:
    kind = value.WhichOneof("value")
    found = getattr(value, kind) if kind else ""
    return str(found).lower() if isinstance(found, bool) else str(found)


def take_metrics(body: bytes) -> None:
    request, now = ExportMetricsServiceRequest.FromString(body), time.time()
    for resource in request.resource_metrics:
        known = {item.key: _text(item.value) for item in resource.resource.attributes}
        own = {"job": known["service.name"], "instance": known["service.instance.id"]}
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            name = metric_name(metric)
            kind = metric.WhichOneof("data")
            for point in getattr(metric, kind).data_points:
                if kind == "histogram":
                    below = 0
                    for bound, count in zip([*point.explicit_bounds, None], point.bucket_counts, strict=True):
                        below += count
                        le = "+Inf" if bound is None else f"{bound:g}"
                        series[f"{name}_bucket", labels_of(point.attributes, le=le, **own)] = below, now
                    series[f"{name}_count", labels_of(point.attributes, **own)] = point.count, now
                    series[f"{name}_sum", labels_of(point.attributes, **own)] = point.sum, now
                else:
                    value = getattr(point, point.WhichOneof("value"))
                    series[name, labels_of(point.attributes, **own)] = value, now


def take_spans(body: bytes) -> None:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        spans.extend(
            {
                "name": span.name,
                "trace": span.trace_id.hex(),
                "span": span.span_id.hex(),
                "parent": span.parent_span_id.hex(),
                "attributes": {item.key: _text(item.value) for item in span.attributes},
                "text": str(span),
            }
            for scope in resource.scope_spans
            for span in scope.spans
        )


def take_probe(body: bytes) -> None:
    """What a blackbox exporter says, in the text format, so that a drill can say it."""
    probe[:] = [body.decode()]


probe = [""]
TAKE = {"/v1/metrics": take_metrics, "/v1/traces": take_spans, "/v1/logs": lambda body: None, "/probe": take_probe}


def exposition() -> str:
    oldest = time.time() - KEPT
    shown = sorted((name, labels, value) for (name, labels), (value, at) in series.items() if at > oldest)
    return "".join(f"{name}{{{labels}}} {value}\n" for name, labels, value in shown) + probe[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = zlib.decompress(body, 31)
        with lock:
            TAKE[self.path](body)
        self._answer(b"", "application/x-protobuf")

    def do_GET(self) -> None:
        with lock:
            text = exposition() if self.path == "/metrics" else json.dumps(spans)
        self._answer(text.encode(), "text/plain; version=0.0.4")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
