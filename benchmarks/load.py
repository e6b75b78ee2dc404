"""A load generator that leaves the cores to the servers: raw sockets, read a few times a second."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from dataclasses import dataclass
from urllib.parse import urlencode

EVENTS = re.compile(rb'data-events=\\"([^"\\]+)')
POLL = 0.1  # seconds between two looks at a stream; totals are that coarse


TEXT = "Say some words."


@dataclass
class Answer:
    """What one client saw: seconds in all, and the number of different words."""

    total: float
    words: int


async def ask_app(
    port: int,
    cookie: str,
    csrf: str,
    conversation: str = "/chat",
    text: str = TEXT,
    opened: asyncio.Event | None = None,
) -> Answer:
    """Post a question to the generated application, then read its stream to the end."""
    started = time.perf_counter()
    address = await post_question(port, cookie, csrf, conversation, text)
    return await read_stream(port, opening(port, cookie, address), started, opened)


def opening(port: int, cookie: str, address: str) -> bytes:
    return (
        f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\nAccept: text/event-stream\r\n\r\n"
    ).encode()


async def post_question(port: int, cookie: str, csrf: str, conversation: str = "/chat", text: str = TEXT) -> str:
    """Where the events of the answer are."""
    form = urlencode({"text": text, "client_key": str(uuid.uuid4())}).encode()
    head = (
        f"POST {conversation} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\nX-CSRFToken: {csrf}\r\n"
        f"Accept: application/json\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(form)}\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + form)
    answer = await reader.read()
    writer.close()
    found = EVENTS.search(answer)
    if not answer.startswith(b"HTTP/1.1 201") or not found:
        raise RuntimeError(answer[:300].decode(errors="replace"))
    return found[1].decode()


async def first_word(port: int, cookie: str, csrf: str) -> float:
    """Seconds from the question to the first word of its answer."""
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(opening(port, cookie, await post_question(port, cookie, csrf)))
    await reader.readuntil(b"word001")
    took = time.perf_counter() - started
    while await reader.read(1 << 20):  # so that it does not count as a stream that was left
        pass
    writer.close()
    return took


async def wait_app(port: int, cookie: str, csrf: str) -> asyncio.StreamWriter:
    """An open stream whose answer has not begun; the caller closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(opening(port, cookie, await post_question(port, cookie, csrf)))
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode(errors="replace"))
    return writer


async def refused(port: int, cookie: str, address: str) -> tuple[int, dict[str, str]]:
    """Status and headers of a stream that is not opened."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(opening(port, cookie, address))
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    writer.close()
    headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
    return int(status.split()[1]), headers


async def ask_bare(port: int) -> Answer:
    """One answer of the bare asynchronous endpoint."""
    return await read_stream(port, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", time.perf_counter())


async def read_stream(port: int, request: bytes, started: float, opened: asyncio.Event | None = None) -> Answer:
    """Read a stream to its end; asked to reconnect, as by a process that does not write the answer itself, go on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    received = bytearray(await reader.readuntil(b"\r\n\r\n"))
    if not received.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(bytes(received[:300]).decode(errors="replace"))
    if opened:
        opened.set()
    while b"event: done" not in received[-20_000:]:
        data = await reader.read(1 << 20)
        if not data and b"event: reconnect" in received[-300:]:
            last = max(map(int, re.findall(rb"\bid: (\d+)\n", bytes(received))), default=0)
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request[:-2] + b"Last-Event-ID: %d\r\n\r\n" % last)
        elif not data:
            raise RuntimeError(f"the stream ended early: {bytes(received[-300:])!r}")
        received += data
        await asyncio.sleep(POLL)
    total = time.perf_counter() - started
    writer.close()
    return Answer(total, len(set(re.findall(rb"word\d+", bytes(received)))))
