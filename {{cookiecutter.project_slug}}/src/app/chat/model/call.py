"""Asks the agent: builds the chain of models once per process and runs the agent."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import AsyncIterable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, Self, TypeAlias
from uuid import UUID

import httpx2
import pydantic_ai as ai
from flask import Flask
from pydantic_ai import messages as m
from pydantic_ai import models
from pydantic_ai.capabilities import Hooks
from pydantic_ai.exceptions import UserError
from pydantic_ai.models.concurrency import limit_model_concurrency
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.tools import ToolDefinition
from sqlalchemy.orm import Session

from app import config
from app.chat.agent import agent
from app.chat.model import history
from app.chat.model.budget import Meter, beginning_of
from app.chat.model.call_ids import canonical_arguments, provider_call_id
from app.chat.model.failures import (
    ApprovalChangedError,
    NotConfiguredError,
    ToolError,
    ending_of,
)
from app.chat.model.output import (
    HTTPStream,
    ObservedModel,
    OutputLimits,
    OutputSink,
    http_stream,
)
from app.chat.models import Failure, StepStatus
from app.chat.tools import TOOLS, Deps
from app.config import Settings
from app.database import reading, transaction
from app.observability import metrics, tracing
from app.state import AppKey
from app.text import identifier, storable, storable_json

# These loggers print prompts at DEBUG.
SDK_LOGGERS = (
    "openai",
    "anthropic",
    "google_genai",
    "groq",
    "botocore",
    "httpx2",
    "httpcore2",
)
LONGEST_TOOL_RESULT = 100_000  # characters that the model is told
DENIED = "The user does not allow this."
TOOL_OUTCOMES = {"success": StepStatus.DONE, "denied": StepStatus.DENIED}
# A title is short, and so is what it may cost: about 500 tokens in all.
TITLE_QUESTION_TOKENS = 300
TITLE_TOKENS = 100
# Pydantic AI makes reasoning of a piece that equals one of these. Reasoning between
# tags is found by model/reasoning.py, so no piece must equal them.
UNLIKELY_TAGS = ("\n\n<think>\n", "\n</think>\n\n")

# The last events of streams that say so, at the beginning of a line: of chat
# completions, and of a response that its provider ended early.
END_MARK = re.compile(
    rb"(?:^|\n)(?:data: ?\[DONE\]|(?P<early>event: ?response\.incomplete))"
)
LONGEST_MARK = 40  # bytes

MODEL: AppKey[models.Model] = AppKey("model")
_lock = threading.Lock()

Output: TypeAlias = str | ai.DeferredToolRequests
OpenSession: TypeAlias = Callable[[], AbstractContextManager[Session]]


class AnswerSink(OutputSink, Protocol):
    """Receives the output and the tool steps of an answer.

    A call is named by our own id, which counts within the present response.
    """

    def resume_step(self, own_id: str, step_id: UUID) -> None: ...

    async def begin_step(
        self, own_id: str, provider_id: str, name: str, arguments: str
    ) -> None: ...

    def end_step(self, own_id: str, status: StepStatus, result: str) -> None: ...

    def await_approval(self, own_id: str) -> None: ...


@dataclass(frozen=True)
class Prompt:
    """What the model is asked: a question, or to go on after decisions.

    ``messages`` are ``history_length`` messages of earlier turns and then what this run
    exchanged before it waited.
    """

    question: str | None
    messages: list[m.ModelMessage]
    history_length: int
    correction: float
    decisions: list[history.Decision]


@dataclass(frozen=True)
class Answer:
    """What came of asking the agent."""

    messages: list[m.ModelMessage]  # exchanged in this run since it was asked
    failure: Failure | None  # what is to be said of its ending


def model_of(app: Flask) -> models.Model:
    """The model of the process: it owns connections, so it is not built per run.

    It is built again when a provider's key in a secrets file has changed.

    Raises:
        NotConfiguredError: when the settings do not describe a model that can be asked.
    """
    with _lock:
        if config.read_secret_files():
            app.extensions.pop("model", None)
        if "model" not in app.extensions:
            MODEL.set(app, _build(app.extensions["settings"]))
        return MODEL.of(app)


def _build(settings: Settings) -> models.Model:
    if settings.chosen_model == "demo":
        from app.chat.model.demo import demo_model

        return demo_model()
    for name in SDK_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        chain = [models.infer_model(name) for name in settings.models]
    except (UserError, ImportError, ValueError) as error:
        problems = [f"{name}: {text}" for name, text in config.model_problems(settings)]
        raise NotConfiguredError("; ".join(problems) or str(error)) from error
    for model in chain:
        model.profile["thinking_tags"] = UNLIKELY_TAGS
        _note_done_markers(model)
    fallback = FallbackModel(*chain)
    return limit_model_concurrency(fallback, settings.max_model_requests)


def _note_done_markers(model: models.Model) -> None:
    """Let the HTTP client of a model say whether a stream was marked as done.

    Some servers send no reason why a response ended, but ``[DONE]`` after its last
    piece. Pydantic AI and the SDKs do not tell whether it came.
    """
    client = getattr(getattr(model, "client", None), "_client", None)
    if isinstance(client, httpx2.AsyncClient):
        hooks = client.event_hooks
        hooks["response"].append(_watch_stream)
        client.event_hooks = hooks


async def _watch_stream(response: httpx2.Response) -> None:
    facts = http_stream.get()
    if facts is not None and isinstance(response.stream, httpx2.AsyncByteStream):
        facts.is_seen = True
        facts.is_marked_done = False
        facts.has_ended_early = False
        response.stream = _WatchedStream(response.stream, facts)


class _WatchedStream(httpx2.AsyncByteStream):
    """Hands a stream on. It is no generator, since those are closed at odd moments."""

    def __init__(self, stream: httpx2.AsyncByteStream, facts: HTTPStream):
        self._stream = stream
        self._facts = facts
        self._end = b""

    def __aiter__(self) -> Self:
        self._chunks = aiter(self._stream)
        return self

    async def __anext__(self) -> bytes:
        chunk = await anext(self._chunks)
        if mark := END_MARK.search(self._end + chunk):
            self._facts.is_marked_done = True
            self._facts.has_ended_early = mark["early"] is not None
        self._end = chunk[-LONGEST_MARK:]
        return chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


# Around every tool: results are made storable, exceptions get a type.
TOOL_HOOKS: Hooks[Deps] = Hooks()


@TOOL_HOOKS.on.after_tool_execute
async def _clean_result(
    context: ai.RunContext[Deps], *, result: Any, **unused: object
) -> Any:
    return cleaned_result(result)


@TOOL_HOOKS.on.tool_execute_error
async def _name_error(
    context: ai.RunContext[Deps],
    *,
    tool_def: ToolDefinition,
    error: Exception,
    **unused: object,
) -> Any:
    raise ToolError(tool_def.name) from error


def cleaned_result(result: Any) -> Any:
    """A tool's result with storable, bounded texts; files and objects stay as they
    are.
    """
    if isinstance(result, m.ToolReturn):
        return replace(result, return_value=cleaned_result(result.return_value))
    if isinstance(result, str):
        return storable(result[:LONGEST_TOOL_RESULT])
    if isinstance(result, list | dict):
        return storable_json(result)
    return result


async def answer(
    app: Flask, user_id: UUID, prompt: Prompt, sink: AnswerSink, meter: Meter
) -> Answer:
    """Ask the agent as *user_id*; the output goes to *sink* while it arrives.

    Raises:
        ApprovalChangedError: when a decided call is not the one that would run.
        Exception: whatever the model, a tool or a limit raises; ``failures.failure_of``
            says what it means.
    """
    settings: Settings = app.extensions["settings"]
    decided = _decided_calls(prompt)
    for own_id, decision in decided.items():
        sink.resume_step(own_id, decision.step_id)
    observed_model = ObservedModel(
        model_of(app),
        sink,
        meter,
        _output_limits(settings),
        prompt.history_length,
        prompt.correction,
    )
    # Retries happen in the provider's SDK and nowhere else; all of them together must
    # bring a first word in time.
    model_settings = ai.ModelSettings(
        max_retries=settings.model_retries,
        first_event_timeout=settings.first_token_seconds,
    )
    usage_limits = ai.UsageLimits(request_limit=settings.max_requests_per_run)
    result: ai.AgentRunResult[Output] = await agent.run(
        prompt.question,
        output_type=[str, ai.DeferredToolRequests],
        message_history=prompt.messages,
        deferred_tool_results=_deferred_results(decided),
        deps=_deps(app, user_id),
        model=observed_model,
        model_settings=model_settings,
        usage_limits=usage_limits,
        event_stream_handler=partial(_follow_steps, sink),
        capabilities=[TOOL_HOOKS],
    )
    return Answer(result.new_messages(), _ending(result))


def _ending(result: ai.AgentRunResult[Output]) -> Failure | None:
    output = result.output
    is_empty = isinstance(output, str) and not output.strip()
    failure = ending_of(result.response)
    return Failure.EMPTY if is_empty and not failure else failure


def _output_limits(settings: Settings) -> OutputLimits:
    return OutputLimits(
        silence_seconds=settings.between_tokens_seconds,
        tool_calls=settings.max_tool_calls_per_response,
    )


def _deps(app: Flask, user_id: UUID) -> Deps:
    @contextmanager
    def within_app(open_session: OpenSession) -> Iterator[Session]:
        with app.app_context(), open_session() as session:
            yield session

    return Deps(user_id, partial(within_app, reading), partial(within_app, transaction))


def _decided_calls(prompt: Prompt) -> dict[str, history.Decision]:
    """Decisions by our id of the call, checked against the calls that will run.

    Raises:
        ApprovalChangedError: when a decision fits no call of the last response.
    """
    undecided = list(prompt.decisions)
    decided: dict[str, history.Decision] = {}
    response = _last_response(prompt.messages)
    for call in response.tool_calls:
        for decision in undecided:
            if _is_same_call(response, call, decision):
                decided[call.tool_call_id] = decision
                undecided.remove(decision)
                break
    if undecided:
        raise ApprovalChangedError
    return decided


def _last_response(messages: Sequence[m.ModelMessage]) -> m.ModelResponse:
    """The last response in *messages*; one without parts if there is none."""
    for message in reversed(messages):
        if isinstance(message, m.ModelResponse):
            return message
    return m.ModelResponse(parts=[])


def _is_same_call(
    response: m.ModelResponse, call: m.ToolCallPart, decision: history.Decision
) -> bool:
    provider_id = provider_call_id(response, call.tool_call_id)
    same_id = provider_id == decision.call_id
    same_name = identifier(call.tool_name) == decision.name
    same_arguments = canonical_arguments(call.args) == decision.arguments
    return same_id and same_name and same_arguments


def _deferred_results(
    decided: dict[str, history.Decision],
) -> ai.DeferredToolResults | None:
    """Decisions as Pydantic AI takes them."""
    approvals: dict[str, bool | ai.ToolApproved | ai.ToolDenied] = {}
    for own_id, decision in decided.items():
        reason = f"{DENIED} {decision.reason or ''}".strip()
        approvals[own_id] = decision.is_approved or ai.ToolDenied(reason)
    return ai.DeferredToolResults(approvals=approvals) if approvals else None


async def _follow_steps(
    sink: AnswerSink,
    context: ai.RunContext[Deps],
    events: AsyncIterable[m.AgentStreamEvent],
) -> None:
    """Tell the sink of tool steps. Text reaches it earlier, from ``ObservedModel``."""
    async for event in events:
        if isinstance(event, m.FunctionToolCallEvent):
            call = event.part
            own_id = call.tool_call_id
            provider_id = provider_call_id(_last_response(context.messages), own_id)
            arguments = call.args if isinstance(call.args, str) else ""
            await sink.begin_step(own_id, provider_id, call.tool_name, arguments)
        elif isinstance(event, m.FunctionToolResultEvent):
            part = event.part
            outcome = part.outcome if isinstance(part, m.ToolReturnPart) else "failed"
            status = TOOL_OUTCOMES.get(outcome, StepStatus.FAILED)
            result = storable(str(part.content))
            sink.end_step(part.tool_call_id, status, result)
            _count_tool_call(part.tool_name or "", status)
        elif isinstance(event, m.DeferredToolRequestsEvent):
            for call in event.requests.approvals:
                sink.await_approval(call.tool_call_id)


def _count_tool_call(name: str, status: StepStatus) -> None:
    names = [
        tool.name if isinstance(tool, ai.Tool) else getattr(tool, "__name__", "")
        for tool in TOOLS
    ]
    outcomes = {StepStatus.DONE: "ok", StepStatus.DENIED: "denied"}
    metrics.add(
        "app.tool_calls",
        tool=name if name in names else "unknown",  # a model may invent names
        outcome=outcomes.get(status, "failed"),
    )


titler = ai.Agent(
    name="titles",
    instructions="Answer with a title of two to six words for a chat that begins so.",
)


async def suggest_title(
    app: Flask, question: str, sink: OutputSink, meter: Meter
) -> None:
    """Ask the model for a title of a conversation that begins with *question*.

    The output goes to *sink*; it costs about 500 tokens at most.
    """
    limits = _output_limits(app.extensions["settings"])
    observed_model = ObservedModel(model_of(app), sink, meter, limits)
    # Models that cannot do without reasoning ignore that it is switched off.
    model_settings = ai.ModelSettings(
        max_tokens=TITLE_TOKENS,
        max_retries=0,
        thinking=False,
    )
    await titler.run(
        beginning_of(question, TITLE_QUESTION_TOKENS),
        model=observed_model,
        model_settings=model_settings,
        usage_limits=ai.UsageLimits(request_limit=1),
        event_stream_handler=_ignore_events,
    )


async def _ignore_events(
    context: ai.RunContext[object], events: AsyncIterable[m.AgentStreamEvent]
) -> None:
    """Iterate the stream, so that the model is asked for one."""
    async for _ in events:
        pass


def instrument(app: Flask) -> None:
    """Trace the agent, once per application."""
    if "agent_is_traced" not in app.extensions:
        app.extensions["agent_is_traced"] = True
        tracing.instrument_agent(app.extensions["settings"].trace_content)
