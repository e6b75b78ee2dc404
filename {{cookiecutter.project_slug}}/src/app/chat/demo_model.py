"""A model that needs no key and no network: it streams, calls the example tools, and says that it is a demo.

``count to N`` answers with exactly the number words, about ten a second, so that anyone can see and test a stream.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from pydantic_ai.messages import ModelMessage, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

from app.config import read_table

SECONDS_PER_WORD = 0.1
SECONDS_PER_PIECE = 0.03
MAX_COUNT = 9_999
DEMO = read_table(__file__, "demo.toml")
SMALL: list[str] = DEMO["small"].split()
TENS: list[str] = DEMO["tens"].split()


def number_word(number: int) -> str:
    """*number* (0 to 9,999) in English as one hyphenated word: 121 is ``one-hundred-twenty-one``."""
    if number < 20:
        return SMALL[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f"-{SMALL[number % 10]}" if number % 10 else "")
    unit, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    return f"{number_word(number // unit)}-{name}" + (f"-{number_word(number % unit)}" if number % unit else "")


async def _answer(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    returns = [part for part in messages[-1].parts if isinstance(part, ToolReturnPart)]
    parts = (part for message in reversed(messages) for part in message.parts)
    asked = (part.content for part in parts if isinstance(part, UserPromptPart) and isinstance(part.content, str))
    question = next(asked, "")
    tools = {tool.name for tool in info.function_tools}
    if counted := re.search(r"count (?:up )?to (\d{1,4})\b", question, re.IGNORECASE):
        words = " ".join(number_word(n) for n in range(1, min(int(counted[1]), MAX_COUNT) + 1))
        pieces, pause = re.findall(r"\S+\s*", words), SECONDS_PER_WORD
    elif returns:
        text = "\n\n".join(f"`{part.tool_name}` returned:\n\n{_as_list(part.content)}" for part in returns)
        pieces, pause = re.findall(r"\S+\s*", f"This is the demo model. {text}"), SECONDS_PER_PIECE
    elif call := next((call for call in _calls(question) if call.name in tools), None):
        yield {0: call}
        return
    else:
        word = max(re.findall(r"\w+", question) or ["hello"], key=len)
        introduction = Path(__file__).with_name("demo.md").read_text("utf-8")
        pieces, pause = re.findall(r"\S*\s*", introduction.replace("WORD", word[:40]))[:-1], SECONDS_PER_PIECE
    loop = asyncio.get_running_loop()
    due = loop.time()
    for piece in pieces:
        due += pause
        await asyncio.sleep(due - loop.time())
        yield piece


def _calls(question: str) -> Iterator[DeltaToolCall]:
    for tool, pattern in DEMO["calls"].items():
        if found := re.search(pattern, question, re.IGNORECASE):
            arguments = {name: text.strip(' ."“”')[:200] for name, text in found.groupdict().items()}
            yield DeltaToolCall(tool, json.dumps(arguments))


def _as_list(content: object) -> str:
    if isinstance(content, dict):
        content = [f"{key}: {value}" for key, value in content.items()]
    if isinstance(content, list):
        lines = [json.dumps(item, ensure_ascii=False) if isinstance(item, dict) else str(item) for item in content]
        return "\n".join(f"- {line}" for line in lines) or "- nothing"
    return str(content)


def demo_model() -> FunctionModel:
    return FunctionModel(stream_function=_answer, model_name="demo")
