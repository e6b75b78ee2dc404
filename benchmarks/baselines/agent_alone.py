"""Pydantic AI with no web at all: runs COUNT answers at once and prints how long each took. Frozen; see README.md.

Protocol: reads lines "COUNT SPREAD" from standard input, prints one JSON line of seconds for each.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from pydantic_ai import Agent
from scripted import scripted_model

agent = Agent(scripted_model(), instructions="Answer briefly.")


async def handle(context: object, events: object) -> None:
    async for _ in events:  # type: ignore[attr-defined]
        pass


async def one(delay: float) -> float:
    await asyncio.sleep(delay)
    started = time.perf_counter()
    await agent.run("Say a hundred words.", event_stream_handler=handle)
    return time.perf_counter() - started


async def main(count: int, spread: float) -> list[float]:
    return await asyncio.gather(*(one(spread * number / count) for number in range(count)))


print("ready", flush=True)
for line in sys.stdin:
    count, spread = line.split()
    print(json.dumps(asyncio.run(main(int(count), float(spread)))), flush=True)
