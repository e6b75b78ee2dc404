"""Calls of tools as the agent graph needs them, and as the provider gets them back.

A provider may repeat ids within one response, or omit them; the graph matches results
to calls by id. So a call has an id of our own where it must, and the provider's id is
restored in what is sent.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TypeVar

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ToolCallPart,
    ToolReturnPart,
)

from app.text import storable, storable_json

PROVIDER_CALL_IDS = "provider_call_ids"  # a key of ModelResponse.metadata

Part = TypeVar("Part")


def arguments_as_text(arguments: object) -> str:
    """Arguments of a call as a model wrote them, or as JSON."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments or {})


def canonical_arguments(arguments: object) -> str:
    """Arguments as compact JSON with storable texts; as they are if they are no object.

    Of a repeated key the last value counts, as when the arguments are validated.
    """
    text = arguments_as_text(arguments)
    try:
        values = json.loads(text or "{}")
        if not isinstance(values, dict):
            return storable(text)
        cleaned = storable_json(values)
        return json.dumps(cleaned, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return storable(text)


class UniqueCallIds:
    """Gives calls of one response ids that differ, where a provider repeats or omits
    one.

    The agent graph matches results to calls by id. ``provider_ids`` maps a replaced id
    to the provider's own, which goes back to the provider unchanged.
    """

    def __init__(self) -> None:
        self.provider_ids: dict[str, str] = {}
        self._seen: set[str] = set()

    def apply(self, call: ToolCallPart) -> ToolCallPart:
        # What cannot even be sent back is no id that a provider could rely on.
        provider_id = storable(call.tool_call_id)
        own_id = provider_id
        number = 1
        while not own_id or own_id in self._seen:
            number += 1
            own_id = f"{provider_id}#{number}"
        self._seen.add(own_id)
        if own_id != provider_id:
            self.provider_ids[own_id] = provider_id
        return replace(call, tool_call_id=own_id)


def provider_call_id(response: ModelResponse, own_id: str) -> str:
    """The provider's own id of a call of *response*."""
    return _provider_ids(response).get(own_id, own_id)


def _provider_ids(response: ModelResponse) -> dict[str, str]:
    """The provider's ids of calls by our own, where they differ."""
    metadata = response.metadata or {}
    provider_ids: dict[str, str] = metadata.get(PROVIDER_CALL_IDS, {})
    return provider_ids


def with_provider_call_ids(messages: list[ModelMessage]) -> list[ModelMessage]:
    """Messages for a provider: ids of calls are the ones that it chose itself."""
    provider_ids: dict[str, str] = {}
    restored: list[ModelMessage] = []
    for message in messages:
        if isinstance(message, ModelResponse):
            provider_ids = _provider_ids(message)
        restored.append(_with_ids(message, provider_ids))
    return restored


def _with_ids(message: ModelMessage, provider_ids: dict[str, str]) -> ModelMessage:
    if not provider_ids:
        return message
    if isinstance(message, ModelRequest):
        results = [_with_id(part, provider_ids) for part in message.parts]
        return replace(message, parts=results)
    calls = [_with_id(part, provider_ids) for part in message.parts]
    return replace(message, parts=calls)


def _with_id(part: Part, provider_ids: dict[str, str]) -> Part:
    if isinstance(part, ToolCallPart | ToolReturnPart):
        own_id = part.tool_call_id
        return replace(part, tool_call_id=provider_ids.get(own_id, own_id))
    return part
