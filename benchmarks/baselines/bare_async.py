"""Pydantic AI behind a bare asyncio HTTP endpoint: one request, one streamed answer, nothing else. Frozen."""

from __future__ import annotations

import asyncio
import json
import sys

from pydantic_ai import Agent
from pydantic_ai.messages import PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from scripted import scripted_model

agent = Agent(scripted_model(), instructions="Answer briefly.")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(HEAD)

    async def handle(context: object, events: object) -> None:
        async for event in events:  # type: ignore[attr-defined]
            text = None
            if isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
                text = event.delta.content_delta
            elif isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                text = event.part.content
            if text:
                writer.write(f"event: text\ndata: {json.dumps({'append': text})}\n\n".encode())
                await writer.drain()

    await agent.run("Say a hundred words.", event_stream_handler=handle)
    writer.write(b"event: done\ndata: {}\n\n")
    await writer.drain()
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=2048)
    await server.serve_forever()


asyncio.run(main())
