"""Asks the agent. The one module that imports it, and so Pydantic AI: at the first question, not at the start."""

import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from functools import partial
from typing import Any, cast
from uuid import UUID

import pydantic_ai as ai
from flask import Flask
from genai_prices import Usage, calc_price
from pydantic_ai import models
from pydantic_ai.models.concurrency import limit_model_concurrency
from pydantic_ai.models.fallback import FallbackModel
from sqlalchemy.orm import Session

from app.chat.agent import agent
from app.chat.tools import Deps
from app.config import Settings
from app.database import reading, transaction
from app.observability import tracing

Answer = ai.AgentRunResult[str | ai.DeferredToolRequests]
Ask = Callable[..., Awaitable[Answer]]
Decisions = Mapping[str, str | None]  # by the tool call's id: None for an approval, else why it is denied
SDK_LOGGERS = ("openai", "anthropic", "google_genai", "groq", "botocore", "httpx2", "httpcore2")  # DEBUG tells prompts
_lock = threading.Lock()


def model_of(app: Flask) -> models.Model:
    """The one model instance of the process: a model has a pool of connections, so it is not built per run."""
    with _lock:
        if "model" not in app.extensions:
            app.extensions["model"] = _build(app.extensions["settings"])
        return cast("models.Model", app.extensions["model"])


def _build(settings: Settings) -> models.Model:
    if settings.chosen_model == "demo":
        from app.chat.demo_model import demo_model

        return demo_model()
    for name in SDK_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    chain = [models.infer_model(name) for name in settings.models]
    for model in chain:  # a stream that just ends was cut
        cast("dict[str, Any]", model.profile)["openai_chat_streaming_requires_finish_reason"] = True
    return limit_model_concurrency(FallbackModel(*chain), settings.max_model_requests)


def price_of(model: str, input_tokens: int, output_tokens: int) -> Decimal | None:
    """What numbers of tokens cost at *model*, in US dollars; None where that is not known."""
    provider, _, name = model.partition(":")
    amount = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    try:
        return calc_price(amount, name, provider_id=provider.removesuffix("-chat")).total_price
    except LookupError:
        return None


titler = ai.Agent(name="titles", instructions="Answer with a title of two to six words for a chat that begins so.")


async def title_of(app: Flask, question: str) -> str:
    """A short title for a conversation that begins with *question*."""
    limits = ai.UsageLimits(request_limit=1)
    async with titler.run_stream(question[:2000], model=model_of(app), usage_limits=limits) as result:
        return await result.get_output()


def on_behalf_of(app: Flask, user_id: UUID) -> Ask:
    """A function that asks the agent as *user_id*: a question after *earlier* messages, or to go on with decisions."""
    model = model_of(app)
    settings: Settings = app.extensions["settings"]
    if "agent_is_traced" not in app.extensions:
        app.extensions["agent_is_traced"] = True
        tracing.instrument_agent(settings.trace_content)
    limits = ai.UsageLimits(request_limit=settings.max_requests_per_run, total_tokens_limit=settings.max_tokens_per_run)
    # Retries happen in the provider's SDK and nowhere else; all of them together must bring a first word in time.
    patience = ai.ModelSettings(max_retries=settings.model_retries, first_event_timeout=settings.first_token_seconds)

    @contextmanager
    def within(opened: Callable[[], AbstractContextManager[Session]]) -> Iterator[Session]:
        with app.app_context(), opened() as session:
            yield session

    deps = Deps(user_id, partial(within, reading), partial(within, transaction))

    async def ask(question: str | None, earlier: list[ai.ModelMessage], decisions: Decisions, handler: Any) -> Answer:
        approvals: Any = {call: True if no is None else ai.ToolDenied(no) for call, no in decisions.items()}
        decided = ai.DeferredToolResults(approvals=approvals) if approvals else None
        told: dict[str, Any] = {"message_history": earlier, "deferred_tool_results": decided, "deps": deps}
        how: dict[str, Any] = {"model": model, "model_settings": patience, "usage_limits": limits}
        answers = [str, ai.DeferredToolRequests]
        return await agent.run(question, output_type=answers, event_stream_handler=handler, **told, **how)

    return ask
