"""A model that needs no key and no network.

It streams, calls the example tools, and says that it is a demo. ``count to N`` answers
with exactly the number words, about ten a second, so that anyone can see and test a
stream.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic_ai.messages import ModelMessage, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import (
    AgentInfo,
    DeltaToolCall,
    DeltaToolCalls,
    FunctionModel,
)

SECONDS_PER_WORD = 0.1
SECONDS_PER_PIECE = 0.03
MAX_COUNT = 9_999
LONGEST_ARGUMENT = 200  # characters
COUNT = re.compile(r"count (?:up )?to (\d{1,4})\b", re.IGNORECASE)
# Which question calls which tool; a group of the pattern is the argument of that name.
TOOL_CALLS = {
    "search_my_conversations": re.compile(
        r"search\b.*?\bfor\s+(?P<words>.+)", re.IGNORECASE
    ),
    "delete_conversation": re.compile(
        r"delete (?:my |the )?conversation\s+(?P<title>.+)", re.IGNORECASE
    ),
    "my_usage": re.compile(r"\bmy usage\b", re.IGNORECASE),
}
SMALL_NUMBERS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
)
TENS = (
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
)


@dataclass(frozen=True)
class Speech:
    """Pieces of text, and the pause before each in seconds."""

    pieces: list[str]
    pause: float


def number_word(number: int) -> str:
    """*number* (0 to 9,999) as one hyphenated word: ``one-hundred-twenty-one``."""
    if number < 20:
        return SMALL_NUMBERS[number]
    if number < 100:
        rest = f"-{SMALL_NUMBERS[number % 10]}" if number % 10 else ""
        return TENS[number // 10 - 2] + rest
    if number < 1000:
        return _with_unit(number, 100, "hundred")
    return _with_unit(number, 1000, "thousand")


def _with_unit(number: int, unit: int, name: str) -> str:
    rest = f"-{number_word(number % unit)}" if number % unit else ""
    return f"{number_word(number // unit)}-{name}{rest}"


async def _answer(
    messages: list[ModelMessage], info: AgentInfo
) -> AsyncIterator[str | DeltaToolCalls]:
    question = _last_question(messages)
    offered = {tool.name for tool in info.function_tools}
    returns = [part for part in messages[-1].parts if isinstance(part, ToolReturnPart)]
    call = next((call for call in _calls(question) if call.name in offered), None)
    if counted := COUNT.search(question):
        speech = _counting(int(counted[1]))
    elif returns:
        speech = _reporting(returns)
    elif call:
        yield {0: call}
        return
    else:
        speech = _introduction(question)
    loop = asyncio.get_running_loop()
    due = loop.time()
    for piece in speech.pieces:
        due += speech.pause
        await asyncio.sleep(due - loop.time())
        yield piece


def _last_question(messages: list[ModelMessage]) -> str:
    for message in reversed(messages):
        for part in message.parts:
            if isinstance(part, UserPromptPart) and isinstance(part.content, str):
                return part.content
    return ""


def _counting(most: int) -> Speech:
    words = " ".join(number_word(n) for n in range(1, min(most, MAX_COUNT) + 1))
    return Speech(re.findall(r"\S+\s*", words), SECONDS_PER_WORD)


def _reporting(returns: list[ToolReturnPart]) -> Speech:
    reports = [
        f"`{part.tool_name}` returned:\n\n{_as_list(part.content)}" for part in returns
    ]
    text = "\n\n".join(reports)
    pieces = re.findall(r"\S+\s*", f"This is the demo model. {text}")
    return Speech(pieces, SECONDS_PER_PIECE)


def _introduction(question: str) -> Speech:
    longest_word = max(re.findall(r"\w+", question) or ["hello"], key=len)
    text = Path(__file__).with_name("demo.md").read_text("utf-8")
    pieces = re.findall(r"\S*\s*", text.replace("WORD", longest_word[:40]))
    return Speech(pieces[:-1], SECONDS_PER_PIECE)


def _calls(question: str) -> Iterator[DeltaToolCall]:
    for tool, pattern in TOOL_CALLS.items():
        if found := pattern.search(question):
            arguments = {
                name: text.strip(' ."“”')[:LONGEST_ARGUMENT]
                for name, text in found.groupdict().items()
            }
            yield DeltaToolCall(tool, json.dumps(arguments))


def _as_list(content: object) -> str:
    if isinstance(content, dict):
        content = [f"{key}: {value}" for key, value in content.items()]
    if not isinstance(content, list):
        return str(content)
    lines = [
        json.dumps(item, ensure_ascii=False) if isinstance(item, dict) else str(item)
        for item in content
    ]
    return "\n".join(f"- {line}" for line in lines) or "- nothing"


def demo_model() -> FunctionModel:
    """The demo model, which has no state."""
    return FunctionModel(stream_function=_answer, model_name="demo")
