"""A model provider in OpenAI's protocol whose mood is written in a file: fine, slow or rubbish.

"count to N" is answered "w1 w2 ..." and so on, ten words a second.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

PACE = 0.1


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int((re.findall(rb"(?i)content-length: (\d+)", head) or [b"0"])[0])
            asked = json.loads(await reader.readexactly(length))
            mood = Path(sys.argv[2]).read_text()
            if mood == "slow":
                await asyncio.sleep(30)
            if mood == "rubbish":
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 11\r\n\r\n<b>what</b>"
                )
                continue
            numbers = re.findall(r"count to (\d+)", json.dumps(asked["messages"][-1]))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for number in range(1, int((numbers or ["1"])[-1]) + 1):
                await say(writer, {"content": f"w{number} "})
                await asyncio.sleep(PACE)
            await say(writer, {}, "stop")
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def say(writer: asyncio.StreamWriter, delta: dict[str, str], finish: str | None = None) -> None:
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "moody"}
    data = json.dumps(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    frame = f"data: {data}\n\n".encode()
    writer.write(b"%x\r\n%b\r\n" % (len(frame), frame))
    await writer.drain()


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", int(sys.argv[1]))
    async with server:
        await server.serve_forever()


asyncio.run(main())
