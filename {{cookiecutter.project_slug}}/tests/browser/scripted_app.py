"""The application with a model that stays in the state its question asks for, so that a test can look at it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

from app import create_app
from app.chat.agent import agent

ANSWER = """\
Yes. **Knead** the dough for ten minutes, then let it rest:

1. Mix 500 g flour, 350 g water and `10 g` salt.
2. Wait an hour. See [the notes](https://example.org/bread) on why.

| flour | water |
| --- | --- |
| wheat | 70 % |
| rye | 80 % |

```python
def dough(flour: float, *, hydration: float = 0.7) -> dict[str, float]:
    # All by weight, in grams; a longer line shows whether the block scrolls on its own.
    return {"flour": flour, "water": flour * hydration, "salt": 0.02 * flour, "note": "rest"}
```

> Time does most of the work.
"""
FOREVER = 3600


@agent.tool_plain
async def look_up_weather(city: str, days: int = 1) -> str:
    """Look up the weather of a city."""
    await asyncio.sleep(FOREVER)
    return ""


async def _answer(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    last = messages[-1]
    question = next(
        part.content
        for message in reversed(messages)
        for part in reversed(message.parts)
        if isinstance(part, UserPromptPart) and isinstance(part.content, str)
    )
    if isinstance(last, ModelRequest) and any(isinstance(part, ToolReturnPart) for part in last.parts):
        yield "That is done."
    elif "think" in question:
        await asyncio.sleep(FOREVER)
    elif "weather" in question:
        yield "Let me look.\n\n"
        yield {0: DeltaToolCall("look_up_weather", json.dumps({"city": "Reykjavík", "days": 3}))}
    elif "delete" in question:
        yield "I can delete that conversation for you.\n\n"
        yield {0: DeltaToolCall("delete_conversation", json.dumps({"title": "Bread for the weekend"}))}
    elif "fail" in question:
        yield "The first thing to know is"
        raise RuntimeError("the provider went away")
    elif "book" in question:
        for paragraph in book(5500):
            for word in paragraph.split(" "):
                yield word + " "
            yield "\n\n"
            await asyncio.sleep(0.02)
    else:
        stays = "stream" in question
        for word in ANSWER[: ANSWER.index("    return") if stays else None].split(" "):
            yield word + " "
        await asyncio.sleep(FOREVER if stays else 0)


def book(words: int) -> list[str]:
    """Markdown of about so many words in all kinds of blocks."""
    sentence = "the quick brown fox jumps over the lazy dog and then goes home to sleep until noon"
    kinds = [
        f"## Chapter\n\n{sentence} **and** {sentence}.",
        "\n".join(f"- {sentence}" for _ in range(5)),
        "| a | b |\n| --- | --- |\n" + "\n".join(f"| {sentence} | `x` |" for _ in range(4)),
        "```python\n" + "\n".join(f"x = '{sentence}'" for _ in range(6)) + "\n```",
        f"> {sentence}\n> {sentence}",
    ]
    chapters: list[str] = []
    while sum(len(chapter.split()) for chapter in chapters) < words:
        chapters.append(kinds[len(chapters) % len(kinds)])
    return chapters


app = create_app()
app.extensions["model"] = FunctionModel(stream_function=_answer, model_name="scripted")
