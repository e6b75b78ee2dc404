"""A model that needs no key and no network: it streams, calls the example tools, and says that it is a demo.

``count to N`` answers with exactly the number words, about ten a second, so that anyone can see and test a stream.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

SECONDS_PER_WORD = 0.1
SECONDS_PER_PIECE = 0.03
MAX_COUNT = 9_999
SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()

INTRODUCTION = """\
This is the **demo model**: it runs inside the application, needs no key and knows nothing. It is here so that you can
see an answer stream. Set `MODEL` and your provider's key in `.env` to talk to a real one.

Try one of these:

- `count to 20` shows a steady stream: reload the page, or stop it, in the middle.
- `search my conversations for {word}` calls a tool that reads your own messages.
- `show my usage` calls another one.
- `delete conversation {word}` calls one that asks for your approval first.

| you | the server |
| --- | --- |
| close the tab | goes on writing |
| come back | shows everything, once |

```python
def greet(name: str) -> str:
    return f"Hello, {{name}}!"
```
"""


def number_word(number: int) -> str:
    """*number* (0 to 9,999) in English as one hyphenated word: 121 is ``one-hundred-twenty-one``."""
    if number < 20:
        return SMALL[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f"-{SMALL[number % 10]}" if number % 10 else "")
    unit, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    rest = f"-{number_word(number % unit)}" if number % unit else ""
    return f"{number_word(number // unit)}-{name}{rest}"


async def _answer(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    last = messages[-1]
    returns = (
        [part for part in last.parts if isinstance(part, ToolReturnPart)] if isinstance(last, ModelRequest) else []
    )
    question = _question(messages)
    tools = {tool.name for tool in info.function_tools}
    if counted := re.search(r"count (?:up )?to (\d{1,4})\b", question, re.IGNORECASE):
        words = " ".join(number_word(n) for n in range(1, min(int(counted[1]), MAX_COUNT) + 1))
        pieces, pause = re.findall(r"\S+\s*", words), SECONDS_PER_WORD
    elif returns:
        text = "\n\n".join(f"`{part.tool_name}` returned:\n\n{_as_list(part.content)}" for part in returns)
        pieces, pause = re.findall(r"\S+\s*", f"This is the demo model. {text}"), SECONDS_PER_PIECE
    elif (
        wanted := re.search(r"search\b.*?\bfor\s+(.+)", question, re.IGNORECASE)
    ) and "search_my_conversations" in tools:
        yield {0: DeltaToolCall("search_my_conversations", json.dumps({"words": wanted[1][:200]}))}
        return
    elif (
        wanted := re.search(r"delete (?:my |the )?conversation\s+(.+)", question, re.IGNORECASE)
    ) and "delete_conversation" in tools:
        yield {0: DeltaToolCall("delete_conversation", json.dumps({"title": wanted[1].strip(' ."“”')[:200]}))}
        return
    elif re.search(r"\bmy usage\b", question, re.IGNORECASE) and "my_usage" in tools:
        yield {0: DeltaToolCall("my_usage", "{}")}
        return
    else:
        word = max(re.findall(r"\w+", question) or ["hello"], key=len)
        pieces, pause = re.findall(r"\S*\s*", INTRODUCTION.format(word=word[:40]))[:-1], SECONDS_PER_PIECE
    loop = asyncio.get_running_loop()
    due = loop.time()
    for piece in pieces:
        due += pause
        await asyncio.sleep(due - loop.time())
        yield piece


def _question(messages: list[ModelMessage]) -> str:
    for message in reversed(messages):
        for part in message.parts:
            if isinstance(part, UserPromptPart) and isinstance(part.content, str):
                return part.content
    return ""


def _as_list(content: object) -> str:
    if isinstance(content, dict):
        content = [f"{key}: {value}" for key, value in content.items()]
    if isinstance(content, list):
        lines = [json.dumps(item, ensure_ascii=False) if isinstance(item, dict) else str(item) for item in content]
        return "\n".join(f"- {line}" for line in lines) or "- nothing"
    return str(content)


def demo_model() -> FunctionModel:
    return FunctionModel(stream_function=_answer, model_name="demo")
