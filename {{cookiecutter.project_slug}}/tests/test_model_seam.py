"""The seam between Pydantic AI and the live run: what it relies on, and what it promises.

It was tested with the version below. When a newer one fails here, look at
``chat/model/output.py`` and ``chat/model/call.py`` before anything else.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from importlib.metadata import version

import pytest
from pydantic_ai import Agent
from pydantic_ai._parts_manager import ModelResponsePartsManager
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models import StreamedResponse
from pydantic_ai.models.function import AgentInfo, DeltaToolCalls, FunctionModel
from support import run_async

from app.chat.model.call_ids import UniqueCallIds, canonical_arguments, with_provider_call_ids
from app.chat.model.output import ObservedModel, OutputLimits

TESTED_WITH = "2.68"


def test_the_seam_was_tested_with_this_version() -> None:
    major, minor = version("pydantic-ai-slim").split(".")[:2]
    tested_major, tested_minor = TESTED_WITH.split(".")
    assert major == tested_major, "a new major version: walk through chat/model/ before raising TESTED_WITH"
    assert int(minor) >= int(tested_minor)


def test_the_names_that_are_not_quite_public_are_there() -> None:
    assert inspect.isasyncgenfunction(StreamedResponse._get_event_iterator)
    assert {"usage", "reported", "cumulative"} <= inspect.signature(StreamedResponse._add_usage).parameters.keys()
    assert isinstance(inspect.getattr_static(StreamedResponse, "_parts_manager").func, object)
    for name in ("handle_text_delta", "handle_thinking_delta", "handle_part", "get_parts"):
        assert callable(getattr(ModelResponsePartsManager, name))
    assert {"get", "close_stream", "usage"} <= set(dir(StreamedResponse))


class Sink:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def begin_response(self) -> None:
        self.seen.append(("begin", ""))

    def add_text(self, text: str) -> None:
        self.seen.append(("text", text))

    def add_reasoning(self, text: str) -> None:
        self.seen.append(("reasoning", text))

    def text_was_reasoning(self) -> None:
        self.seen.append(("was reasoning", ""))


class UnlimitedMeter:
    def begin_request(self, estimated_input: float) -> None: ...

    def request_failed(self) -> None: ...

    def end_request(self, usage: object) -> None: ...

    def room_for(self, text: str) -> str:
        return text

    async def count(self, text: str) -> None: ...


def observed(pieces: list[str], sink: Sink, seen_by_graph: list[str]) -> str:
    """Let an agent answer with these pieces; returns its output."""

    async def speak(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
        for piece in pieces:
            yield piece

    async def look(context: object, events: AsyncIterator[object]) -> None:
        seen_by_graph.extend([type(event).__name__ async for event in events])

    model = ObservedModel(FunctionModel(stream_function=speak), sink, UnlimitedMeter(), OutputLimits(5, 5))
    return run_async(Agent(model).run("?", event_stream_handler=look)).output


def test_the_sink_gets_each_piece_and_the_graph_whole_parts() -> None:
    sink, seen_by_graph = Sink(), []
    assert observed(["Hello ", "wor", "ld"], sink, seen_by_graph) == "Hello world"
    assert sink.seen == [("begin", ""), ("text", "Hello "), ("text", "wor"), ("text", "ld")]
    assert seen_by_graph == ["PartStartEvent", "FinalResultEvent", "PartEndEvent"]


def test_the_graph_sees_storable_text_without_reasoning() -> None:
    sink = Sink()
    assert observed(["<think>hm", "</think>\n\n", "A \ud83d", "\ude00 and \ud83d."], sink, []) == "A 😀 and \ufffd."
    assert ("reasoning", "hm") in sink.seen


def test_what_a_lone_tag_ends_is_reasoning_for_the_graph_too() -> None:
    sink = Sink()
    assert observed(["so it is\n", "</think>\n", "Yes."], sink, []) == "Yes."
    assert ("was reasoning", "") in sink.seen


@pytest.mark.parametrize(
    ("arguments", "canonical"),
    [
        ('{"title": "Twin"}', '{"title":"Twin"}'),
        ({"title": "Twin"}, '{"title":"Twin"}'),
        ('{"a": 1, "a": 2}', '{"a":2}'),
        ('{"a": "\\ud83d\\u0000"}', '{"a":"\ufffd"}'),
        ("[1, 2]", "[1, 2]"),
        ('{"half": ', '{"half": '),
        ("nul\x00", "nul"),
        ("", "{}"),
        (None, "{}"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_arguments_are_shown_as_they_run(arguments: object, canonical: str) -> None:
    assert canonical_arguments(arguments) == canonical


def test_repeated_and_missing_ids_of_calls_are_told_apart_but_go_back_unchanged() -> None:
    ids, given = UniqueCallIds(), ["call_0", "call_0", "", "call_0#2", "x" * 932]
    calls = [ids.apply(ToolCallPart("tool", "{}", tool_call_id=call_id)) for call_id in given]
    own = [call.tool_call_id for call in calls]
    assert len(set(own)) == len(given)
    assert (own[0], own[4]) == ("call_0", "x" * 932)
    response = ModelResponse(parts=calls, metadata={"provider_call_ids": ids.provider_ids})
    results = ModelRequest(parts=[ToolReturnPart("tool", "ok", tool_call_id=call_id) for call_id in own])
    later = ModelResponse(parts=[TextPart("done")])
    sent = with_provider_call_ids([response, results, later])
    assert [part.tool_call_id for part in sent[0].parts] == given
    assert [part.tool_call_id for part in sent[1].parts] == given
    assert sent[2] == later
