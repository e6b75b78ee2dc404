"""The chat: conversations, the agent, and runs that answer whether or not anyone is listening."""

from flask import Flask

from app.chat import export, message_views
from app.chat.runner import Runner
from app.chat.streams import Streams
from app.observability import metrics


def init_app(app: Flask) -> None:
    settings = app.extensions["settings"]
    runner = app.extensions["runner"] = Runner(app)
    app.extensions["streams"] = Streams(runner, settings.max_streams, settings.max_streams_per_user)
    app.extensions["readiness"]["draining"] = lambda: "failed: draining" if runner.draining else "ok"
    metrics.watch("app.streams.open", app.extensions["streams"].open.total)
    metrics.watch("app.runs.live", lambda: len(runner.live))
    metrics.watch("app.loop.lag", runner.loop.lag)
    metrics.watch("app.event_log.size", lambda: runner.log.size)
    app.register_blueprint(message_views.bp)
    export.init_app(app)
