"""What is traced, what is kept, and what never leaves: people's and models' texts, unless ``TRACE_CONTENT`` is on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import logfire
from logfire.sampling import SamplingOptions, TailSamplingSpanInfo
from logfire.types import ExceptionCallbackHelper
from opentelemetry import trace
from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer
from opentelemetry.metrics import get_meter
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, SamplingResult
from sqlalchemy import Engine

from app.observability import metrics

ADDRESS = r"[\w.+-]+@[\w-]+\.\w"  # e-mail addresses are scrubbed, wherever they slip in
SLOW_SECONDS = 5.0  # such traces are kept, whatever the sampling rate
tracer = trace.get_tracer("app")


def current_ids() -> tuple[str, str]:
    """Trace id and span id as hexadecimal digits; zeros outside of a trace."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def identify(user_id: object) -> None:
    """Say whose request this is: by id, never by address or name."""
    trace.get_current_span().set_attribute("user.id", str(user_id))


def link(trace_id: str | None, span_id: str | None) -> None:
    """Link the current span to another trace, such as the one of the question whose answer is being read."""
    if trace_id and span_id and all(ids := (int(trace_id, 16), int(span_id, 16))):
        context = trace.SpanContext(*ids, is_remote=True, trace_flags=trace.TraceFlags(1))
        trace.get_current_span().add_link(context)


def note(name: str, **attributes: object) -> None:
    """A span without duration for something that has happened: ids and counts, never texts or addresses."""
    tracer.start_span(name, attributes={key: str(value) for key, value in attributes.items()}).end()


def record(error: BaseException) -> None:
    """Record an exception that is handled here on the current span."""
    span = trace.get_current_span()
    span.record_exception(error)
    span.set_status(trace.Status(trace.StatusCode.ERROR))


def record_once(helper: ExceptionCallbackHelper) -> None:
    """An exception passes through many spans; it belongs to the first, with a fingerprint that groups its kind."""
    if getattr(helper.exception, "_is_recorded", False):
        helper.no_record_exception()
    else:
        helper.exception._is_recorded = True  # type: ignore[attr-defined]
        helper.create_issue = True


@contextmanager
def job(name: str) -> Iterator[None]:
    """The span of background work, and its metrics; its errors are counted here and raised on."""
    began, outcome = time.monotonic(), "failed"
    with tracer.start_as_current_span(f"job {name}"):
        try:
            yield
            outcome = "ok"
        except Exception as error:
            metrics.add("app.errors", type=type(error).__name__, where="job")
            raise
        finally:
            metrics.add("app.jobs", task=name, outcome=outcome)
            metrics.record("app.job.duration", time.monotonic() - began, task=name)


class WithoutContent(SpanProcessor):
    """Drops what may quote people: messages of exceptions, query strings, and tokens in paths."""

    def on_end(self, span: ReadableSpan) -> None:
        attributes = dict(span.attributes or {})
        for name in ("url.query", "url.full", "logfire.validation_error"):
            attributes.pop(name, None)
        if "token" in (route := str(attributes.get("http.route", ""))):
            attributes["url.path"] = route
        if span.kind == trace.SpanKind.SERVER:
            attributes["logfire.msg"] = span.name
        span._attributes = attributes
        span._status = trace.Status(span.status.status_code)
        span._events = [event for event in map(_without_message, span.events) if event]


def _without_message(event: Event) -> Event | None:
    """*event*, with the places of an exception but not its text; None for one that the record made here repeats."""
    if event.name != "exception":
        return event
    frames = str((event.attributes or {}).get("exception.stacktrace", "")).splitlines()
    places = "\n".join(line for line in frames if line.startswith('  File "'))
    kept = {"exception.type": (event.attributes or {})["exception.type"], "exception.stacktrace": places}
    return Event(event.name, kept, event.timestamp) if places else None


class _NoLonelyCalls(Sampler):
    """Polling of queues and event logs asks the database and Redis outside of any trace; such calls are not traced."""

    def should_sample(self, parent_context: Any, trace_id: int, name: str, kind: trace.SpanKind | None = None,
                      *args: Any, **kwargs: Any) -> SamplingResult:  # fmt: skip
        sampler = ALWAYS_OFF if kind == trace.SpanKind.CLIENT else ALWAYS_ON
        return sampler.should_sample(parent_context, trace_id, name, kind, *args, **kwargs)

    def get_description(self) -> str:
        return "NoLonelyCalls"


def sampling(rate: float) -> SamplingOptions:
    """Keep every trace with an error, every slow one and every answer; of the others the share *rate*."""

    def keep(info: TailSamplingSpanInfo) -> float:
        return 1.0 if info.level >= "error" or info.duration > SLOW_SECONDS or info.span.name == "run" else rate

    return SamplingOptions(head=ParentBased(_NoLonelyCalls()), tail=keep if rate < 1 else None)


def instrument_engine(engine: Engine) -> None:
    """Trace the queries of *engine*, on every driver.

    ``logfire.instrument_sqlalchemy`` does nothing with SQLAlchemy 2.1, and adds a span for every connection borrowed
    from the pool; the instrumentation of psycopg would trace each query a second time.
    """
    usage = get_meter("app").create_up_down_counter("db.client.connections.usage", "{connection}")
    EngineTracer(tracer, engine, usage)  # type: ignore[no-untyped-call]


def instrument_agent(content: bool) -> None:
    """Trace agents and their HTTP clients; imports both, so it is called at the first question."""
    logfire.instrument_pydantic_ai(include_content=content)
    logfire.instrument_httpx()
