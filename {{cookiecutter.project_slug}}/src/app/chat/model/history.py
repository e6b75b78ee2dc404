"""What the model is told of a conversation, and how exchanged messages are stored.

A turn is a question with its answer, so a tool call is never separated from its result.
The model is told the newest turns that fit a budget of estimated tokens. The newest
turn is always told in some form. Reasoning of earlier turns is not sent: it neither
helps the next answer nor may use up the budget.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from flask import current_app
from pydantic import ValidationError
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_core import PydanticSerializationError
from sqlalchemy import orm, select

from app.chat import message_tree
from app.chat.model.budget import estimate_tokens, is_measured
from app.chat.models import Approval, Message, RunStatus, StepStatus, ToolCall
from app.text import storable_json

SCHEMA = 2  # of Message.model_messages: the major version of Pydantic AI that wrote it
MAX_TURNS = 100
SHORT_RESULT = 2_000  # characters kept of a tool result when a turn is too long
NO_ANSWER = "(no answer)"
# Keys of ModelResponse.metadata, which is stored but not sent to a model.
ESTIMATED_INPUT = "estimated_input_tokens"
# What a provider reported makes our estimates larger, up to so many times, but never
# smaller: some leave out tokens that they had cached.
MOST_CORRECTION = 4.0

Turn = list[ModelMessage]


@dataclass(frozen=True)
class History:
    """Earlier turns as model messages, and what our estimates are to be multiplied
    by.
    """

    messages: list[ModelMessage]
    correction: float


@dataclass(frozen=True)
class Decision:
    """A person's decision on the call of a tool.

    ``call_id`` is the provider's id of the call, which counts within the last response
    only. ``name`` and ``arguments`` are what the person was shown.
    """

    step_id: UUID
    call_id: str
    name: str
    arguments: str
    is_approved: bool
    reason: str | None


@dataclass(frozen=True)
class Pending:
    """What a run exchanged before it waited for approvals, and the decisions."""

    messages: list[ModelMessage]
    decisions: list[Decision]


def load(session: orm.Session, question: Message, token_budget: int) -> History:
    """The turns before *question* that fit *token_budget*, oldest first."""
    rows = message_tree.path(
        session,
        question.parent_id,
        2 * MAX_TURNS,
        orm.undefer(Message.model_messages),
        orm.joinedload(Message.run),
    )
    pairs = zip(rows[::2], rows[1::2], strict=False)
    turns = [_turn(asked, answered) for asked, answered in pairs if _is_told(answered)]
    correction = _correction(turns)
    messages = _fitting(turns, token_budget / correction)
    return History(messages, correction)


def _is_told(answered: Message) -> bool:
    """Whether a turn is told: one that failed before its first word is not."""
    if answered.run is None or answered.text.strip():
        return True
    return answered.run.status not in (RunStatus.ERROR, RunStatus.INTERRUPTED)


def _turn(asked: Message, answered: Message) -> Turn:
    """A turn as it was exchanged, or by its texts where that cannot be read."""
    if answered.model_messages is not None and answered.model_schema == SCHEMA:
        try:
            messages = ModelMessagesTypeAdapter.validate_json(answered.model_messages)
        except ValidationError:
            current_app.logger.warning(
                "message %s has unreadable model messages; its text is used",
                answered.id,
            )
        else:
            # A turn that ended while it waited for an approval lacks results of calls.
            last = messages[-1] if messages else None
            if isinstance(last, ModelResponse) and not last.tool_calls:
                return _without_reasoning(messages)
    return _texts(asked.text, answered.text)


def _texts(question: str, answer: str) -> Turn:
    return [
        ModelRequest.user_text_prompt(question),
        ModelResponse(parts=[TextPart(answer or NO_ANSWER)]),
    ]


def _without_reasoning(messages: Sequence[ModelMessage]) -> Turn:
    """Messages without reasoning.

    Ids of parts go too: a provider that keeps its responses refuses a part whose
    reasoning is missing.
    """
    turn: Turn = []
    for message in messages:
        if isinstance(message, ModelResponse):
            turn.append(_response_without_reasoning(message))
        else:
            turn.append(message)
    return turn


def _response_without_reasoning(response: ModelResponse) -> ModelResponse:
    rest = [part for part in response.parts if not isinstance(part, ThinkingPart)]
    if len(rest) == len(response.parts):
        return response
    parts = [_without_id(part) for part in rest] or [TextPart(NO_ANSWER)]
    return replace(response, parts=parts, provider_response_id=None)


def _without_id(part: ModelResponsePart) -> ModelResponsePart:
    if isinstance(part, TextPart | ToolCallPart) and part.id is not None:
        return replace(part, id=None)
    return part


def _correction(turns: Sequence[Turn]) -> float:
    """How many tokens the provider last counted for one that we estimated."""
    for turn in reversed(turns):
        for message in reversed(turn):
            if not isinstance(message, ModelResponse):
                continue
            metadata = message.metadata or {}
            estimated = metadata.get(ESTIMATED_INPUT)
            if estimated and is_measured(message.usage):
                ratio = message.usage.input_tokens / float(estimated)
                return min(MOST_CORRECTION, max(1.0, ratio))
    return 1.0


def _fitting(turns: Sequence[Turn], budget: float) -> list[ModelMessage]:
    """The newest turns within *budget* estimated tokens, oldest first."""
    if not turns or budget <= 0:
        return []
    *earlier, newest = turns
    fitting = _shortened(newest, budget)
    left = budget - tokens_of(fitting)
    for turn in reversed(earlier):
        left -= tokens_of(turn)
        if left < 0:
            break
        fitting = [*turn, *fitting]
    return fitting


def _shortened(turn: Turn, budget: float) -> Turn:
    """The fullest form of a turn that fits: whole, with short tool results, its texts
    only, the end of its texts."""
    if tokens_of(turn) <= budget:
        return turn
    with_short_results = [_with_short_results(message) for message in turn]
    if tokens_of(with_short_results) <= budget:
        return with_short_results
    question = "\n\n".join(_texts_of(turn, UserPromptPart))
    answer = "\n\n".join(_texts_of(turn, TextPart))
    texts = _texts(question, answer)
    if tokens_of(texts) <= budget:
        return texts
    # An answer is more worth keeping than a long question that was asked about.
    return _texts(_end_of(question, budget / 3), _end_of(answer, budget * 2 / 3))


def _with_short_results(message: ModelMessage) -> ModelMessage:
    if not isinstance(message, ModelRequest):
        return message
    parts = [_with_short_result(part) for part in message.parts]
    return replace(message, parts=parts)


def _with_short_result(part: ModelRequestPart) -> ModelRequestPart:
    if not isinstance(part, ToolReturnPart):
        return part
    result = part.model_response_str()
    if len(result) > SHORT_RESULT:
        result = f"{result[:SHORT_RESULT]} (shortened)"
    return ToolReturnPart(
        tool_name=part.tool_name,
        content=result,
        tool_call_id=part.tool_call_id,
        outcome=part.outcome,
    )


def _texts_of(turn: Turn, kind: type[UserPromptPart] | type[TextPart]) -> Iterator[str]:
    for message in turn:
        for part in message.parts:
            if isinstance(part, kind) and isinstance(part.content, str):
                yield part.content


def _end_of(text: str, tokens: float) -> str:
    """The end of a text that has about so many tokens."""
    estimated = estimate_tokens(text)
    if estimated <= tokens:
        return text
    characters = max(1, int(len(text) * tokens / estimated))
    return f"… {text[-characters:]}"


def tokens_of(messages: Sequence[ModelMessage]) -> float:
    """Estimated tokens of the contents of messages."""
    total: float = 0
    for message in messages:
        for part in message.parts:
            total += _tokens_of_part(part)
    return total


def _tokens_of_part(part: object) -> float:
    if isinstance(part, ToolCallPart):
        arguments = part.args if isinstance(part.args, str) else json.dumps(part.args)
        return estimate_tokens(part.tool_name) + estimate_tokens(arguments)
    if isinstance(part, ToolReturnPart):
        return estimate_tokens(part.model_response_str())
    return estimate_tokens(str(getattr(part, "content", "")))


def with_less_history(
    messages: Sequence[ModelMessage], history_length: int
) -> list[ModelMessage]:
    """A request with at most a quarter of its history, by estimated tokens.

    The first *history_length* messages are earlier turns, the rest is the present turn.
    """
    turns: list[Turn] = []
    earlier = messages[:history_length]
    for message in earlier:
        has_question = any(isinstance(part, UserPromptPart) for part in message.parts)
        if has_question or not turns:
            turns.append([])
        turns[-1].append(message)
    budget = tokens_of(earlier) / 4
    return [*_fitting(turns, budget), *messages[history_length:]]


def pending(session: orm.Session, answer_id: UUID) -> Pending:
    """What a run exchanged before it waited, and the decisions on its last response."""
    query = select(ToolCall, Approval).join(Approval).order_by(ToolCall.id)
    is_decided = ToolCall.status.in_([StepStatus.APPROVED, StepStatus.DENIED])
    query = query.where(ToolCall.message_id == answer_id, is_decided)
    query = query.where(ToolCall.finished_at.is_(None))
    decisions = []
    for call, approval in session.execute(query):
        decision = Decision(
            step_id=call.id,
            call_id=call.call_id,
            name=call.name,
            arguments=call.arguments,
            is_approved=bool(approval.approved),
            reason=approval.reason,
        )
        decisions.append(decision)
    with_messages = orm.undefer(Message.model_messages)
    answer = session.get_one(Message, answer_id, options=[with_messages])
    exchanged = answer.model_messages or "[]"
    try:
        messages = ModelMessagesTypeAdapter.validate_json(exchanged)
    except ValidationError:
        messages = []  # then no decision fits, and nothing runs
    return Pending(messages, decisions)


def dumped(messages: Sequence[ModelMessage]) -> str:
    """Messages as JSON that every database stores."""
    try:
        return ModelMessagesTypeAdapter.dump_json(list(messages)).decode()
    except (PydanticSerializationError, UnicodeError):
        # Something from a provider that no seam has seen, such as an odd detail.
        values = ModelMessagesTypeAdapter.dump_python(list(messages), mode="python")
        as_json = json.dumps(values, default=str)
        cleaned = storable_json(json.loads(as_json))
        return json.dumps(cleaned, ensure_ascii=False)
