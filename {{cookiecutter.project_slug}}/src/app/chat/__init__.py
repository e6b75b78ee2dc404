"""The chat: conversations, the agent, and runs that answer whether anyone looks or
not.
"""

from flask import Flask

from app.chat import pages
from app.chat.runs.runner import RUNNER, Runner
from app.chat.streams.sse import STREAMS, Streams
from app.config import Settings, model_problems
from app.observability import metrics


def init_app(app: Flask) -> None:
    settings: Settings = app.extensions["settings"]
    runner = Runner(app)
    RUNNER.set(app, runner)
    streams = Streams(runner, settings.max_streams, settings.max_streams_per_user)
    STREAMS.set(app, streams)
    readiness = app.extensions["readiness"]
    readiness["draining"] = lambda: "failed: draining" if runner.draining else "ok"
    readiness["saving"] = runner.health
    metrics.watch("app.saves.behind", runner.seconds_behind)
    for scope in ("batch", "run"):  # else the first failure would be no increase
        metrics.add("app.saves.failed", 0, scope=scope)
    metrics.watch("app.streams.open", streams.open.total)
    metrics.watch("app.runs.live", lambda: len(runner.live))
    metrics.watch("app.loop.lag", runner.loop.lag)
    metrics.watch("app.event_log.size", lambda: runner.log.size)
    if settings.development:
        for variable, problem in model_problems(settings):
            app.logger.warning("%s: %s", variable, problem)
    pages.init_app(app)
