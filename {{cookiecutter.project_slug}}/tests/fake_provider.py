"""A model provider on the loopback that misbehaves as a test tells it to.

It speaks OpenAI's chat completions, OpenAI's Responses and Anthropic's messages. A test
scripts each answer as steps; a step means the same in each protocol that knows it.
"""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

USAGE = (20, 10)  # input and output tokens that an answer reports unless told otherwise
PATIENCE = 30  # seconds after which a step that waits gives up
Body = dict[str, Any]


class Step(NamedTuple):
    """One thing the provider does while it answers."""

    kind: str
    value: Any = None


class ToolCall(NamedTuple):
    """A tool call as the provider names and numbers it; None leaves a field out."""

    tool: str
    arguments: str
    call_id: str | None
    index: int | None


class Ending(NamedTuple):
    """How an answer ends. Only chat completions have a ``[DONE]``."""

    reason: Any
    usage: tuple[int, int] | None
    done: bool


def say(*pieces: str) -> Step:
    """Text, one delta a piece."""
    return Step("say", pieces)


def think(*pieces: str) -> Step:
    """Reasoning, where the protocol has a place of its own for it."""
    return Step("think", pieces)


def call(
    tool: str,
    arguments: str = "{}",
    call_id: str | None = "call_1",
    index: int | None = 0,
) -> Step:
    return Step("call", ToolCall(tool, arguments, call_id, index))


def chunk(delta: Body | None, finish: Any = None, **fields: Any) -> Step:
    """One chunk of chat completions with further or other top-level fields."""
    return Step("raw", chat_chunk(delta, finish, **fields))


def raw(data: bytes) -> Step:
    """Bytes of the stream as they are."""
    return Step("raw", data)


def status(code: int, **headers: str) -> Step:
    """An error instead of a stream; its body repeats the key and the prompt."""
    return Step("status", (code, headers, None))


def error(code: int, body: Any, **headers: str) -> Step:
    """An error instead of a stream, with a body of choice; bytes stay as they are."""
    return Step("status", (code, headers, body))


def end(reason: Any, usage: tuple[int, int] | None = USAGE, done: bool = True) -> Step:
    """The end, for another reason than that everything is said.

    ``refusal`` is each protocol's own; None is an end without a reason.
    """
    return Step("end", Ending(reason, usage, done))


def wait(until: threading.Event) -> Step:
    return Step("wait", until)


STALL = Step("stall")  # until the client leaves
CUT = Step("cut")  # the connection breaks
CLOSE = Step("close")  # the stream ends without having been finished
ENDLESS = Step("endless")
LAST = {"end", "close", "cut", "endless", "stall"}  # steps that end an answer
Responder = Callable[[Body], Sequence[Step] | None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves in the middle is what many tests are about."""


class FakeProvider:
    """Answers each request with what the responder returns, else with the next script.

    Without either it says hello.
    """

    def __init__(self) -> None:
        self.requests: list[Body] = []
        self.connections = 0
        self.keys: list[str] = []
        self.over = threading.Event()
        self.responder: Responder | None = None
        self.scripts: queue.SimpleQueue[tuple[Step, ...]] = queue.SimpleQueue()
        provider = self

        class Handler(_Handler):
            fake = provider

        self._server = _Server(("127.0.0.1", 0), Handler)
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def will(self, *steps: Step) -> None:
        self.scripts.put(steps)

    def steps_for(self, body: Body) -> list[Step]:
        if self.responder and (steps := self.responder(body)):
            return list(steps)
        try:
            return list(self.scripts.get_nowait())
        except queue.Empty:
            return [say("Hello.")]

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
        self.fake.keys.append(self.headers.get("Authorization", ""))
        steps = self.fake.steps_for(body)
        with suppress(ConnectionError):
            if steps[0].kind == "status":
                self._refuse(steps[0], body)
            else:
                self._stream(steps)

    def _refuse(self, step: Step, body: Body) -> None:
        code, headers, content = step.value
        if content is None:
            message = f"{dict(self.headers)} {body}"
            content = {"error": {"message": message, "type": "fault"}}
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, steps: list[Step]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if not {step.kind for step in steps} & LAST:
            steps.append(end("tool" if steps[-1].kind == "call" else "stop"))
        frames = self._protocol()
        for step in steps:
            if step.kind == "stall":
                self.fake.over.wait(PATIENCE)
                return
            if step.kind == "cut":
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if step.kind == "wait":
                step.value.wait(PATIENCE)
            while step.kind == "endless":
                self._send(b"".join(frames(say("words " * 20))))
            for data in [step.value] if step.kind == "raw" else frames(step):
                self._send(data)
        self.wfile.write(b"0\r\n\r\n")

    def _protocol(self) -> Callable[[Step], Iterator[bytes]]:
        if self.path.endswith("/messages"):
            return _Anthropic()
        if self.path.endswith("/responses"):
            return _Responses()
        return _chat

    def _send(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.wfile.flush()


def chat_chunk(delta: Body | None, finish: Any = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = {"id": "c", "object": "chat.completion.chunk", "created": 1}
    data |= {"model": "gpt-4o", "choices": [choice]} | fields
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def chat_usage(usage: tuple[int, int]) -> Body:
    prompt, completion = usage
    counts = {"prompt_tokens": prompt, "completion_tokens": completion}
    return counts | {"total_tokens": prompt + completion}


def _chat(step: Step) -> Iterator[bytes]:
    if step.kind == "say":
        for piece in step.value:
            yield chat_chunk({"role": "assistant", "content": piece})
    elif step.kind == "think":
        for piece in step.value:
            yield chat_chunk({"role": "assistant", "reasoning_content": piece})
    elif step.kind == "call":
        wanted: ToolCall = step.value
        place = {} if wanted.index is None else {"index": wanted.index}
        name = {} if wanted.call_id is None else {"id": wanted.call_id}
        function = {"name": wanted.tool, "arguments": ""}
        begun = place | name | {"type": "function", "function": function}
        yield chat_chunk({"role": "assistant", "tool_calls": [begun]})
        more = place | {"function": {"arguments": wanted.arguments}}
        yield chat_chunk({"tool_calls": [more]})
    elif step.kind == "end":
        ending: Ending = step.value
        reasons = {"tool": "tool_calls", "refusal": "content_filter"}
        known = isinstance(ending.reason, str)
        reason = reasons.get(ending.reason, ending.reason) if known else ending.reason
        yield chat_chunk({}, reason)
        if ending.usage is not None:
            yield chat_chunk({}, choices=[], usage=chat_usage(ending.usage))
        if ending.done:
            yield b"data: [DONE]\n\n"


def event(kind: str, **data: Any) -> bytes:
    """A server-sent event whose data repeats its type."""
    text = json.dumps({"type": kind} | data)
    return f"event: {kind}\ndata: {text}\n\n".encode()


class _Anthropic:
    """One message of numbered blocks."""

    def __init__(self) -> None:
        self.blocks = -1

    def __call__(self, step: Step) -> Iterator[bytes]:
        if self.blocks < 0:
            yield self._begun()
            self.blocks = 0
        if step.kind == "say":
            deltas = [{"type": "text_delta", "text": piece} for piece in step.value]
            yield from self._block({"type": "text", "text": ""}, deltas)
        elif step.kind == "think":
            content = {"type": "thinking", "thinking": "", "signature": ""}
            kind = "thinking_delta"
            deltas = [{"type": kind, "thinking": piece} for piece in step.value]
            deltas.append({"type": "signature_delta", "signature": "c2lnbmF0dXJl"})
            yield from self._block(content, deltas)
        elif step.kind == "call":
            wanted: ToolCall = step.value
            content = {"type": "tool_use", "name": wanted.tool, "input": {}}
            if wanted.call_id is not None:
                content["id"] = wanted.call_id
            delta = {"type": "input_json_delta", "partial_json": wanted.arguments}
            yield from self._block(content, [delta])
        elif step.kind == "end":
            yield from self._ended(step.value)

    def _begun(self) -> bytes:
        message = {"id": "m", "type": "message", "role": "assistant", "content": []}
        message |= {"model": "claude-sonnet-5-5", "stop_reason": None}
        message["usage"] = {"input_tokens": USAGE[0], "output_tokens": 1}
        return event("message_start", message=message)

    def _block(self, content: Body, deltas: list[Body]) -> Iterator[bytes]:
        yield event("content_block_start", index=self.blocks, content_block=content)
        for delta in deltas:
            yield event("content_block_delta", index=self.blocks, delta=delta)
        yield event("content_block_stop", index=self.blocks)
        self.blocks += 1

    def _ended(self, ending: Ending) -> Iterator[bytes]:
        reasons = {"stop": "end_turn", "tool": "tool_use"}
        delta = {"stop_reason": reasons.get(ending.reason, ending.reason)}
        usage = {} if ending.usage is None else {"output_tokens": ending.usage[1]}
        yield event("message_delta", delta=delta, usage=usage)
        yield event("message_stop")


class _Responses:
    """One response of numbered items, each with an identifier of its own."""

    def __init__(self) -> None:
        self.items = -1
        self.sequence = -1

    def __call__(self, step: Step) -> Iterator[bytes]:
        if self.items < 0:
            self.items = 0
            yield self._event("response.created", response=self._response())
            yield self._event("response.in_progress", response=self._response())
        if step.kind == "say":
            part = {"type": "output_text", "text": "", "annotations": []}
            kind = "response.output_text.delta"
            yield from self._message(part, kind, step.value)
        elif step.kind == "think":
            yield from self._reasoning(step.value)
        elif step.kind == "call":
            yield from self._call(step.value)
        elif step.kind == "end":
            yield from self._ended(step.value)

    def _event(self, kind: str, **data: Any) -> bytes:
        self.sequence += 1
        return event(kind, sequence_number=self.sequence, **data)

    def _response(self, status: str = "in_progress", **fields: Any) -> Body:
        response = {"id": "resp_1", "object": "response", "created_at": 1}
        response |= {"model": "gpt-4o", "output": [], "tools": [], "error": None}
        response |= {"incomplete_details": None, "tool_choice": "auto"}
        return response | {"parallel_tool_calls": True, "status": status} | fields

    def _item(self, item: Body, inside: Sequence[tuple[str, Body]]) -> Iterator[bytes]:
        """An item from its beginning to its end, with the events *inside* it."""
        item = {"id": f"item_{self.items}"} | item
        place = {"output_index": self.items}
        yield self._event("response.output_item.added", item=item, **place)
        for kind, data in inside:
            yield self._event(kind, item_id=item["id"], **place, **data)
        yield self._event("response.output_item.done", item=item, **place)
        self.items += 1

    def _message(self, part: Body, kind: str, pieces: Sequence[str]) -> Iterator[bytes]:
        item = {"type": "message", "role": "assistant", "content": []}
        item["status"] = "in_progress"
        place = {"content_index": 0}
        inside = [("response.content_part.added", place | {"part": part})]
        inside += [(kind, place | {"delta": piece, "logprobs": []}) for piece in pieces]
        yield from self._item(item, inside)

    def _reasoning(self, pieces: Sequence[str]) -> Iterator[bytes]:
        part = {"type": "summary_text", "text": ""}
        added = "response.reasoning_summary_part.added"
        inside = [(added, {"summary_index": 0, "part": part})]
        for piece in pieces:
            data = {"summary_index": 0, "delta": piece}
            inside.append(("response.reasoning_summary_text.delta", data))
        item = {"type": "reasoning", "summary": [], "encrypted_content": "c2VjcmV0"}
        yield from self._item(item, inside)

    def _call(self, wanted: ToolCall) -> Iterator[bytes]:
        item = {"type": "function_call", "name": wanted.tool, "arguments": ""}
        if wanted.call_id is not None:
            item["call_id"] = wanted.call_id
        name = "response.function_call_arguments"
        inside = [
            (f"{name}.delta", {"delta": wanted.arguments}),
            (f"{name}.done", {"arguments": wanted.arguments, "name": wanted.tool}),
        ]
        yield from self._item(item, inside)

    def _ended(self, ending: Ending) -> Iterator[bytes]:
        usage: Body | None = None
        if ending.usage is not None:
            given, written = ending.usage
            usage = {"input_tokens": given, "output_tokens": written}
            usage |= {"input_tokens_details": {"cached_tokens": 0}}
            usage |= {"output_tokens_details": {"reasoning_tokens": 0}}
            usage["total_tokens"] = given + written
        if ending.reason == "refusal":
            part = {"type": "refusal", "refusal": ""}
            said = ("I cannot ", "help with that.")
            yield from self._message(part, "response.refusal.delta", said)
        if ending.reason in ("stop", "tool", "refusal"):
            response = self._response("completed", usage=usage)
            yield self._event("response.completed", response=response)
        elif ending.reason == "failed":
            problem = {"code": "server_error", "message": "The server had an error."}
            response = self._response("failed", error=problem, usage=usage)
            yield self._event("response.failed", response=response)
        else:
            reason = {"length": "max_output_tokens"}.get(ending.reason, ending.reason)
            details = None if reason is None else {"reason": reason}
            response = self._response("incomplete", incomplete_details=details)
            response["usage"] = usage
            yield self._event("response.incomplete", response=response)


class Told(NamedTuple):
    """One thing a request tells the model, the same for all protocols."""

    by: str  # user, assistant, reasoning, call or result
    text: str  # of a call: its arguments
    call_id: str | None = None
    tool: str | None = None


def conversation_of(body: Body) -> list[Told]:
    """What a request tells the model but for instructions, oldest first."""
    messages = body.get("messages") or body.get("input") or []
    return [told for message in messages for told in _told(message)]


def question_of(body: Body) -> str:
    """The newest question in a request."""
    asked = [told.text for told in conversation_of(body) if told.by == "user"]
    return asked[-1] if asked else ""


def _told(message: Body) -> Iterator[Told]:
    kind = message.get("type", "message")
    if kind == "function_call":
        call_id = message["call_id"]
        yield Told("call", message["arguments"], call_id, message["name"])
    elif kind == "function_call_output":
        yield Told("result", str(message["output"]), message["call_id"])
    elif kind == "reasoning":
        yield Told("reasoning", json.dumps(message.get("summary")))
    elif message.get("role") == "tool":
        yield Told("result", str(message["content"]), message["tool_call_id"])
    elif message.get("role") in ("user", "assistant"):
        yield from _said(message)


def _said(message: Body) -> Iterator[Told]:
    content = message.get("content") or []
    blocks = [{"text": content}] if isinstance(content, str) else content
    for block in blocks:
        if block.get("type") == "tool_use":
            arguments = json.dumps(block["input"])
            yield Told("call", arguments, block["id"], block["name"])
        elif block.get("type") == "tool_result":
            yield Told("result", json.dumps(block["content"]), block["tool_use_id"])
        elif block.get("type") == "thinking":
            yield Told("reasoning", block["thinking"])
        else:
            yield Told(message["role"], block.get("text", ""))
    for name in ("reasoning_content", "reasoning"):
        if message.get(name):
            yield Told("reasoning", str(message[name]))
    for wanted in message.get("tool_calls") or []:
        function = wanted["function"]
        yield Told("call", function["arguments"], wanted.get("id"), function["name"])
