"""Pydantic AI with no web at all: runs COUNT answers at once and prints how long each took. Frozen; see README.md.

Protocol: reads lines "COUNT SPREAD" from standard input, prints one JSON line for each: for every answer the seconds to
its end, and to its first word. BENCH_PROVIDER is the address of a provider that is asked through the OpenAI client.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

from pydantic_ai import Agent
from scripted import scripted_model

if url := os.environ.get("BENCH_PROVIDER"):
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel("scripted", provider=OpenAIProvider(base_url=url, api_key="none"))
else:
    model = scripted_model()
agent = Agent(model, instructions="Answer briefly.")


async def one(delay: float) -> tuple[float, float]:
    first = 0.0

    async def handle(context: object, events: object) -> None:
        nonlocal first
        async for _ in events:  # type: ignore[attr-defined]
            first = first or time.perf_counter()

    await asyncio.sleep(delay)
    started = time.perf_counter()
    await agent.run("Say a hundred words.", event_stream_handler=handle)
    return time.perf_counter() - started, first - started


async def main(count: int, spread: float) -> list[tuple[float, float]]:
    return await asyncio.gather(*(one(spread * number / count) for number in range(count)))


print("ready", flush=True)
for line in sys.stdin:
    count, spread = line.split()
    print(json.dumps(asyncio.run(main(int(count), float(spread)))), flush=True)
