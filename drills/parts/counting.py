"""A model provider in OpenAI's protocol, for a container: ``counting.py PORT PACE`` answers "count to N": w1 w2 ..."""

from __future__ import annotations

import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HEAD = {"id": "x", "created": 1, "model": "counting"}
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked.get("stream"):
            numbers = re.findall(r"count to (\d+)", json.dumps(asked["messages"][-1]))
            self.stream(int((numbers or ["1"])[-1]))
        else:  # a title, which a job asks for
            message = {"role": "assistant", "content": "Counting"}
            whole = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": USAGE}
            body = json.dumps(HEAD | {"object": "chat.completion"} | whole).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def stream(self, words: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number in range(1, words + 1):
            self.say({"content": f"w{number} "})
            time.sleep(float(sys.argv[2]))
        self.say({}, "stop")
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def say(self, delta: dict[str, Any], finish: str | None = None) -> None:
        choices = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        self.wfile.write(f"data: {json.dumps(HEAD | {'object': 'chat.completion.chunk'} | choices)}\n\n".encode())

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 200


Server(("", int(sys.argv[1])), Handler).serve_forever()
