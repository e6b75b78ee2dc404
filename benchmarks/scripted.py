"""The scripted model that every streaming scenario shares: TOKENS words at RATE a second, paced by deadline."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, FunctionModel

TOKENS = int(os.environ.get("BENCH_TOKENS", "100"))
RATE = float(os.environ.get("BENCH_RATE", "20"))
WORDS = [f"word{number:03} " if number % 12 else f"word{number:03}.\n\n" for number in range(1, TOKENS + 1)]


async def _stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    due = loop.time()
    for word in WORDS:
        due += 1 / RATE
        await asyncio.sleep(due - loop.time())
        yield word


def scripted_model() -> FunctionModel:
    return FunctionModel(stream_function=_stream, model_name="scripted")
