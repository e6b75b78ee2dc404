"""What a run (``live.LiveRun``) tells about itself: one span from the question to the saved answer, and its metrics."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from opentelemetry import trace

from app.chat.models import Run, RunStatus
from app.observability import metrics, tracing

TOOL_OUTCOMES = {"success": "ok", "denied": "denied"}  # of Pydantic AI; the others are failures


def start(live: Any, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begin *work* on a run, inside of its span, which belongs to the trace of the request that asked."""
    attributes = {"run.id": str(live.id), "conversation.id": str(live.conversation_id)}
    live.span = tracing.tracer.start_span("run", attributes=attributes)
    with trace.use_span(live.span, end_on_exit=False):
        return asyncio.create_task(work)


def tool_call(name: str, outcome: str) -> None:
    from app.chat.tools import TOOLS

    known = {getattr(tool, "name", "") or getattr(tool, "__name__", "") for tool in TOOLS}  # a model may invent names
    labels = {"tool": name if name in known else "unknown", "outcome": TOOL_OUTCOMES.get(outcome, "failed")}
    metrics.add("app.tool_calls", 1, **labels)


def failed(live: Any, error: Exception) -> None:
    """Count an exception of a run; the span of whatever raised it has recorded it."""
    tracing.record(error)
    if live.error == "model":
        metrics.add("app.errors", type=type(error).__name__, where="run")


def finished(live: Any, run: Run, saving_since: int) -> None:
    """Close the span of a run that has been saved, since *saving_since* (nanoseconds), and count it."""
    context = trace.set_span_in_context(live.span)
    tracing.tracer.start_span("save answer", context=context, start_time=saving_since).end()
    seconds = time.monotonic() - live.began
    if run.status == RunStatus.ERROR:
        live.span.set_status(trace.Status(trace.StatusCode.ERROR))
        if live.first_token_at is None:
            metrics.record("app.run.first_token", seconds)  # whoever waits in vain has waited, too
    live.span.set_attributes({"run.outcome": run.status, "run.error": run.error or ""})
    live.span.end()
    count(run)
    if run.status == RunStatus.WAITING:
        return  # the rest is counted when it has gone on and ended
    metrics.record("app.run.duration", seconds, outcome=run.status)
    model = run.model or "unknown"
    metrics.add("app.tokens", run.input_tokens or 0, model=model, direction="input")
    metrics.add("app.tokens", run.output_tokens or 0, model=model, direction="output")
    metrics.add("app.cost.usd", float(run.cost or 0), model=model)


def count(run: Run) -> None:
    metrics.add("app.runs", outcome=run.status, error=run.error or "")
