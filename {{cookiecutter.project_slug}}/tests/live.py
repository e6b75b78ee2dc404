"""The application as it is served: gunicorn in a process of its own, asked over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

from support import PASSWORD, Event, Page, parse_events, wait_until

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LiveServer:
    """Started and stopped as often as a test likes, always on the same data."""

    def __init__(self, folder: Path, application: str = "wsgi:app", **environment: str):
        self.application = application
        self.port = free_port()
        self.folder = folder
        self.environment = {
            "APP_ENV": "development",
            "SECRET_KEY": "for-one-test-0123456789-abcdefghijklmnop",
            "DATA_DIR": str(folder),
            "MODEL": "demo",
            "PORT": str(self.port),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        } | environment
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> LiveServer:
        command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py")]
        log = (self.folder / "server.log").open("ab")
        self.process = subprocess.Popen(
            [*command, "--pythonpath", f"{ROOT},{ROOT / 'tests/browser'}", self.application],
            cwd=self.folder,  # where there is no .env of a developer
            env=self.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        wait_until(self._answers, 90)
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def kill(self) -> None:
        """As a crash or an impatient host does: nothing can be saved any more."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


class Remote:
    """Someone who talks to a live server."""

    def __init__(self, server: LiveServer):
        self.server = server
        self.cookies: dict[str, str] = {}

    @classmethod
    def signed_up(cls, server: LiveServer) -> Remote:
        remote = cls(server)
        form = {"email": f"{uuid.uuid4().hex}@example.com", "password": PASSWORD}
        status, _, body = remote.post("/register", accept="text/html", **form)
        assert status == 302, body
        return remote

    @contextmanager
    def open(
        self, method: str, url: str, form: dict[str, str] | None = None, **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        """A response while it is open; cookies are kept."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        headers = {"Accept": "application/json"} | headers
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, url, urlencode(form) if form is not None else None, headers)
        response = connection.getresponse()
        for cookie in response.headers.get_all("Set-Cookie") or []:
            self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(cookie).items()}
        try:
            yield response
        finally:
            response.close()
            connection.close()

    def get(self, url: str, **headers: str) -> tuple[int, str]:
        with self.open("GET", url, **headers) as response:
            return response.status, response.read().decode()

    def post(self, url: str, accept: str = "application/json", **form: str) -> tuple[int, http.client.HTTPMessage, str]:
        token = json.loads(self.get("/account/csrf")[1])["token"]
        with self.open("POST", url, form, **{"X-CSRFToken": token, "Accept": accept}) as response:
            return response.status, response.headers, response.read().decode()

    def ask(self, text: str) -> LiveAnswer:
        """As the page's script does, ask again where a worker that is going answers 503."""
        question, deadline = {"text": text, "client_key": str(uuid.uuid4())}, time.monotonic() + 10
        status, _, body = self.post("/chat", **question)
        while status == 503 and time.monotonic() < deadline:
            time.sleep(0.25)
            status, _, body = self.post("/chat", **question)
        assert status == 201, body
        return LiveAnswer(self, json.loads(body))


class LiveAnswer:
    """An answer that is being written, with its addresses."""

    def __init__(self, remote: Remote, body: dict[str, str]):
        self.remote, self.conversation = remote, body["url"]
        found = dict(re.findall(r'data-(events|status|stop)="([^"]+)"', body["messages"]))
        self.events, self.status, self.stop = found["events"], found["status"], found["stop"]

    def follow(self, after: int = 0, attempts: int = 40) -> Iterator[Event]:
        """As the page's script does, ask again where a worker that is going answers 503."""
        with self.remote.open("GET", f"{self.events}?after={after}", Accept="text/event-stream") as response:
            if response.status != 503 or not attempts:
                assert response.status == 200, response.read()
                yield from parse_events(iter(response.read1, b""))
                return
        time.sleep(0.25)
        yield from self.follow(after, attempts - 1)

    def watch(self, seconds: float) -> Page:
        """What a page shows that follows for so long."""
        page, deadline = Page(), time.monotonic() + seconds
        with closing(self.follow()) as events:
            for event in events:
                assert page.take(event)
                if time.monotonic() > deadline:
                    break
        return page

    def shown(self) -> str:
        """The page of the conversation, loaded anew."""
        return self.remote.get(self.conversation, Accept="text/html")[1]
