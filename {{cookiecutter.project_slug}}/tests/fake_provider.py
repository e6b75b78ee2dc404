"""A model provider on the loopback: speaks OpenAI's chat protocol and Anthropic's, and misbehaves as it is told."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Step(NamedTuple):
    """One thing the provider does while it answers."""

    kind: str
    value: Any = None


def say(text: str) -> Step:
    return Step("say", text)


def call(tool: str, arguments: str = "{}") -> Step:
    return Step("call", (tool, arguments))


def raw(data: bytes) -> Step:
    """Bytes of the stream as they are."""
    return Step("raw", data)


def status(code: int, **headers: str) -> Step:
    """An error instead of a stream; the body repeats the key and the prompt, as real ones may."""
    return Step("status", (code, headers))


def end(reason: str) -> Step:
    """The end, for another reason than that all is said; ``refusal`` is each protocol's own."""
    return Step("end", reason)


STALL = Step("stall")  # until the client leaves
CUT = Step("cut")  # the connection breaks
CLOSE = Step("close")  # the stream ends without having been finished
ENDLESS = Step("endless")


class FakeProvider:
    """Does the next script for each request; without one it says hello."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self.over = threading.Event()
        self.scripts: queue.SimpleQueue[tuple[Step, ...]] = queue.SimpleQueue()
        provider = self

        class Handler(_Handler):
            fake = provider

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def will(self, *steps: Step) -> None:
        self.scripts.put(steps)

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    fake: FakeProvider
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.fake.connections += 1

    def log_message(self, *arguments: object) -> None:
        """The tests look at what happened."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.fake.requests.append(body)
        try:
            steps = self.fake.scripts.get_nowait()
        except queue.Empty:
            steps = (say("Hello."),)
        frames = _Anthropic() if self.path.endswith("/messages") else _openai
        with suppress(ConnectionError):
            self._answer(list(steps), frames, body)

    def _answer(self, steps: list[Step], frames: Any, body: dict[str, Any]) -> None:
        if steps[0].kind == "status":
            code, headers = steps[0].value
            text = json.dumps({"error": {"message": f"{dict(self.headers)} {body}", "type": "fault"}}).encode()
            self.send_response(code)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(text)),
                **headers,
            }.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(text)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if not {step.kind for step in steps} & {"end", "close", "cut", "endless", "stall"}:
            steps.append(end("tool" if steps[-1].kind == "call" else "stop"))
        for step in steps:
            if step.kind == "stall":
                self.fake.over.wait(30)
                return
            if step.kind == "cut":
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            while step.kind == "endless":
                self._chunk(b"".join(frames(say("words " * 20))))
            for data in [step.value] if step.kind == "raw" else frames(step):
                self._chunk(data)
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.wfile.flush()


def _openai(step: Step) -> Iterator[bytes]:
    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        data = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", "choices": choices}
        return f"data: {json.dumps(data | more)}\n\n".encode()

    if step.kind == "say":
        yield chunk({"role": "assistant", "content": step.value})
    elif step.kind == "call":
        name, arguments = step.value
        function = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}
        yield chunk({"role": "assistant", "tool_calls": [function]})
        yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]})
    elif step.kind == "end":
        reasons = {"tool": "tool_calls", "refusal": "content_filter"}
        yield chunk({}, reasons.get(step.value, step.value))
        yield chunk({}, choices=[], usage={"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30})
        yield b"data: [DONE]\n\n"


class _Anthropic:
    """One message of numbered blocks."""

    def __init__(self) -> None:
        self.blocks = -1

    def __call__(self, step: Step) -> Iterator[bytes]:
        if self.blocks < 0:
            usage = {"input_tokens": 20, "output_tokens": 1}
            message = {"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "content": []}
            yield self._event("message_start", message=message | {"stop_reason": None, "usage": usage})
            self.blocks = 0
        if step.kind == "say":
            yield from self._block({"type": "text", "text": ""}, {"type": "text_delta", "text": step.value})
        elif step.kind == "call":
            name, arguments = step.value
            content = {"type": "tool_use", "id": "call_1", "name": name, "input": {}}
            yield from self._block(content, {"type": "input_json_delta", "partial_json": arguments})
        elif step.kind == "end":
            reason = {"stop": "end_turn", "tool": "tool_use"}.get(step.value, step.value)
            yield self._event("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 10})
            yield self._event("message_stop")

    def _block(self, content: dict[str, Any], delta: dict[str, Any]) -> Iterator[bytes]:
        yield self._event("content_block_start", index=self.blocks, content_block=content)
        yield self._event("content_block_delta", index=self.blocks, delta=delta)
        yield self._event("content_block_stop", index=self.blocks)
        self.blocks += 1

    @staticmethod
    def _event(kind: str, **data: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind} | data)}\n\n".encode()
