"""A load generator that costs little: raw asyncio sockets, one connection a request."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from dataclasses import dataclass
from urllib.parse import urlencode

EVENTS = re.compile(rb'data-events=\\"([^"\\]+)')


@dataclass
class Answer:
    """What one client saw: seconds to the first token and in all, and the number of words."""

    first: float
    total: float
    words: int


async def ask_app(port: int, cookie: str, csrf: str) -> Answer:
    """Post a question to the generated application, then read its stream to the end."""
    started = time.perf_counter()
    form = urlencode({"text": "Say a hundred words.", "client_key": str(uuid.uuid4())}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST /chat HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\nX-CSRFToken: {csrf}\r\n"
        f"Accept: application/json\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n"
        "Connection: close\r\n\r\n"
    )
    writer.write(head.encode() + form)
    answer = await reader.read()
    writer.close()
    found = EVENTS.search(answer)
    if not answer.startswith(b"HTTP/1.1 201") or not found:
        raise RuntimeError(answer[:300].decode(errors="replace"))
    head = f"GET {found[1].decode()} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\nAccept: text/event-stream\r\n\r\n"
    return await _read(port, head.encode(), started)


async def ask_bare(port: int) -> Answer:
    return await _read(port, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", time.perf_counter())


async def _read(port: int, request: bytes, started: float) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    first = 0.0
    received = bytearray()
    while b"event: done" not in received[-4000:]:
        data = await reader.read(65536)
        if not data:
            raise RuntimeError(f"the stream ended early: {bytes(received[-300:])!r}")
        received += data
        if not first and b"event: text" in received:
            first = time.perf_counter() - started
    total = time.perf_counter() - started
    writer.close()
    if not received.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(bytes(received[:300]).decode(errors="replace"))
    return Answer(first, total, len(set(re.findall(rb"word\d+", bytes(received)))))
