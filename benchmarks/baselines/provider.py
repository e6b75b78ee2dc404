"""A provider in OpenAI's protocol that says the scripted words, paced by deadline. Frozen.

Not a baseline itself: what is measured through the OpenAI client asks it, with and without the application.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import Any

from scripted import RATE, WORDS

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: str) -> bytes:
    event = f"data: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


def event(delta: dict[str, str], finish: str | None = None, **more: Any) -> bytes:
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return chunk(json.dumps(head | {"choices": [choice]} | more))


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.findall(rb"(?i)content-length: (\d+)", head)[0]))
            writer.write(HEAD)
            due = loop.time()
            for word in WORDS:
                due += 1 / RATE
                await asyncio.sleep(due - loop.time())
                writer.write(event({"content": word}))
                await writer.drain()
            usage = {"prompt_tokens": 10, "completion_tokens": len(WORDS), "total_tokens": 10 + len(WORDS)}
            writer.write(event({}, "stop", usage=usage) + chunk("[DONE]") + b"0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=2048)
    await server.serve_forever()


asyncio.run(main())
