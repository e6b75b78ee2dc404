"""The application with a model that names conversations when a test lets it.

A title is what stands in the file ``title`` of the data folder, as soon as there is one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic_ai.messages import ModelMessage, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from app import create_app

TITLE = Path(os.environ["DATA_DIR"], "title")
LONG_ANSWER = ["word "] * 200
FOREVER = 3600


async def _answer(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
    if not info.function_tools:  # only the agent that answers has tools
        while not TITLE.exists():
            await asyncio.sleep(0.02)
        yield TITLE.read_text("utf-8")
        return
    question = next(part.content for part in messages[-1].parts if isinstance(part, UserPromptPart))
    if "long" in question:
        for word in LONG_ANSWER:
            yield word
        return
    yield f"You wrote: {question}"
    if "slowly" in question:
        await asyncio.sleep(FOREVER)


app = create_app()
app.extensions["model"] = FunctionModel(stream_function=_answer, model_name="naming")
