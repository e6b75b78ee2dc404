"""The chat: conversations, the agent, and runs that answer whether or not anyone is listening."""

from __future__ import annotations

from flask import Flask

from app.chat.runner import Runner
from app.chat.streams import Streams
from app.chat.views import bp


def init_app(app: Flask) -> None:
    settings = app.extensions["settings"]
    runner = app.extensions["runner"] = Runner(app)
    app.extensions["streams"] = Streams(runner, settings.max_streams, settings.max_streams_per_user)
    app.extensions["readiness"]["draining"] = lambda: "failed: draining" if runner.draining else "ok"
    app.register_blueprint(bp)
