"""Logfire, JSON log lines with the trace id, and health checks."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

import logfire
from flask import Flask
from opentelemetry import trace

from app import config
from app.observability import health

HEALTH_URLS = "/livez,/readyz"


def trace_id() -> str:
    """The current trace id as 32 hexadecimal digits; zeros outside of a trace."""
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


class JSONFormatter(logging.Formatter):
    """One line of JSON a record, so that a newline in a value cannot forge a second record."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "trace_id": trace_id(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def init_app(app: Flask) -> None:
    settings = app.extensions["settings"]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter("%(levelname)s %(name)s: %(message)s") if settings.development else JSONFormatter()
    )
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Sends only when LOGFIRE_TOKEN is set; a client's traceparent is never trusted.
    logfire.configure(
        send_to_logfire="if-token-present",
        service_name=config.project()["name"],
        environment=settings.app_env,
        console=False,
        distributed_tracing=False,
        inspect_arguments=False,
    )
    logfire.instrument_flask(app, excluded_urls=HEALTH_URLS)
    health.init_app(app)
