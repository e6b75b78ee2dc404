"""Asks the agent. The one module that imports it, and so Pydantic AI: at the first question, not at the start."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import logfire
from flask import Flask
from pydantic_ai import AgentRunResult, UsageLimits
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models import Model, infer_model

from app.chat.agent import agent
from app.chat.tools import Deps
from app.config import Settings
from app.database import reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

Ask = Callable[[str, list[ModelMessage], Any], Awaitable[AgentRunResult[str]]]
_lock = threading.Lock()


def model_of(app: Flask) -> Model:
    """The one model instance of the process: a model has a pool of connections, so it is not built per run."""
    with _lock:
        if "model" not in app.extensions:
            logfire.instrument_pydantic_ai(include_content=False)
            app.extensions["model"] = _build(app.extensions["settings"])
        model: Model = app.extensions["model"]
        return model


def _build(settings: Settings) -> Model:
    if settings.chosen_model == "demo":
        from app.chat.demo_model import demo_model

        return demo_model()
    return infer_model(settings.chosen_model)


def on_behalf_of(app: Flask, user_id: UUID) -> Ask:
    """A function that asks the agent a question, with the earlier turns, as *user_id*."""
    model = model_of(app)
    limits = UsageLimits(request_limit=app.extensions["settings"].max_requests_per_run)

    @contextmanager
    def session() -> Iterator[Session]:
        with app.app_context(), reading() as opened:
            yield opened

    async def ask(question: str, earlier: list[ModelMessage], handler: Any) -> AgentRunResult[str]:
        return await agent.run(
            question,
            message_history=earlier,
            deps=Deps(user_id, session),
            model=model,
            usage_limits=limits,
            event_stream_handler=handler,
        )

    return ask
