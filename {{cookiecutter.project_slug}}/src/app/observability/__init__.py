"""Traces and metrics by Logfire, to it or any OpenTelemetry backend; JSON log lines with the trace id; health."""

import json
import logging
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import logfire
from flask import Flask
from opentelemetry.sdk.metrics import export, view
from opentelemetry.sdk.trace import SpanProcessor

from app import config
from app.observability import health, metrics, tracing

NOT_TRACED = r"^https?://[^/]+/(livez|readyz|static/)"  # anchored: a query must not switch tracing off
PROCESS_METRICS = ("process.memory.usage", "process.cpu.utilization", "process.thread.count",
                   "process.open_file_descriptor.count")  # fmt: skip
NOTHING_OF_ITSELF = view.View(instrument_name="otel.sdk.*", aggregation=view.DropAggregation())
_configured: set[int] = set()  # process ids


class JSONFormatter(logging.Formatter):
    """One line of JSON a record, so that a newline in a value cannot forge a second record."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": datetime.fromtimestamp(record.created, UTC).isoformat(), "level": record.levelname}
        line |= {"logger": record.name, "message": record.getMessage(), "trace_id": tracing.current_ids()[0]}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def init_app(app: Flask) -> None:
    settings = app.extensions["settings"]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(logging.BASIC_FORMAT) if settings.development else JSONFormatter())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for talkative in ("alembic", "httpx2"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    if os.getpid() not in _configured:  # each worker makes its application after the fork
        _configured.add(os.getpid())
        configure(settings)
        if settings.redis_url:
            logfire.instrument_redis()
        logfire.instrument_system_metrics(dict.fromkeys(PROCESS_METRICS), base=None)
    limits = {"threads": settings.web_threads, "runs": settings.max_runs, "streams": settings.max_streams}
    metrics.watch("app.limits", lambda: [(limit, {"of": name}) for name, limit in limits.items()])
    logfire.instrument_flask(app, excluded_urls=NOT_TRACED)
    health.init_app(app)


def configure(settings: config.Settings, *also: SpanProcessor, readers: Sequence[export.MetricReader] = ()) -> None:
    """Send only when LOGFIRE_TOKEN is set, and to where the standard OTEL_EXPORTER_OTLP_* variables say.

    Tests add span processors and metric readers of their own.
    """
    what: Any = dict.fromkeys(("console", "inspect_arguments", "add_baggage_to_attributes"), False)
    what |= {"environment": settings.app_env, "distributed_tracing": settings.trust_traceparent}
    what |= {"send_to_logfire": "if-token-present", "sampling": tracing.sampling(settings.trace_sample_rate)}
    what["service_name"] = os.environ.get("OTEL_SERVICE_NAME", config.project()["name"])
    redaction = [] if settings.trace_content else [tracing.WithoutContent()]
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
    os.environ.setdefault("OTEL_EXPORTER_OTLP_TIMEOUT", "3")  # seconds a worker that ends waits for a lost backend
    logfire.configure(
        **what,
        scrubbing=logfire.ScrubbingOptions(extra_patterns=[tracing.ADDRESS]),
        metrics=logfire.MetricsOptions(additional_readers=readers, views=[NOTHING_OF_ITSELF]),
        additional_span_processors=[*redaction, *also],
        advanced=logfire.AdvancedOptions(exception_callback=tracing.record_once),
    )
