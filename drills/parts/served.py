"""The generated application as production serves it: gunicorn on PostgreSQL and Redis behind a real Caddy with https,
mails into a mailbox on the loopback, answers from a scripted model.

For scripts that run with the interpreter of a generated project and with its tests on their path.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import engines
from fake_provider import FakeProvider
from live import ROOT, LiveServer, free_port
from posture.site import PASSWORD, Answer, Guest, Mailbox, caddy, certificate
from support import wait_until

PARTS = Path(__file__).parent


class Visitor(Guest):
    """A guest who keeps the connection, and may come from any address of the loopback (127.0.0.0/8)."""

    def __init__(self, url: str, authority: Path, address: str = "127.0.0.1"):
        super().__init__(url, authority)
        self.address, self.connection, self.seconds = address, self._connect(address), 0.0

    def _connect(self, address: str) -> http.client.HTTPSConnection:
        where: dict[str, Any] = {"context": self.context, "timeout": 60, "source_address": (address, 0)}
        return http.client.HTTPSConnection(self.url.hostname or "", self.url.port, **where)

    def ask(self, path: str, method: str = "GET", body: str | bytes | None = None, **headers: str) -> Answer:
        """An answer; how long it took is then in ``seconds``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        named = {"Accept": "text/html,application/xhtml+xml", "Cookie": cookie} | named
        named = {name: value for name, value in named.items() if value}
        try:
            answer = self._answer(method, path, body, named)
        except (http.client.RemoteDisconnected, ConnectionError):  # the proxy closes what has been idle
            self.connection.close()
            answer = self._answer(method, path, body, named)
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def _answer(self, method: str, path: str, body: str | bytes | None, headers: dict[str, str]) -> Answer:
        started = time.perf_counter()
        self.connection.request(method, path, body, headers)
        answer = Answer(self.connection.getresponse())
        self.seconds = time.perf_counter() - started
        return answer

    def from_address(self, address: str) -> Visitor:
        """The same browser at another address."""
        other = Visitor(self.url.geturl(), self.authority or Path(), address)
        other.cookies = self.cookies
        return other


class PatientMailbox(Mailbox):
    """Mails are queued, and whoever sends them may still be starting."""

    def link(self, recipient: str, path: str) -> str:
        for _ in range(12):
            with suppress(AssertionError):
                return super().link(recipient, path)
        return super().link(recipient, path)


class Served:
    """One server and what it stands on; everything is gone when it is left."""

    def __init__(
        self,
        workers: int = 1,
        limited: bool = True,
        holes: bool = False,
        mailbox: Callable[[], Mailbox] = PatientMailbox,
        **environment: str,
    ):
        self.folder = Path(tempfile.mkdtemp(prefix="drill-"))
        self.stack, self.mailbox, self.model = ExitStack(), mailbox(), FakeProvider()
        self.authority, self.key = certificate(self.folder)
        database, redis = self.stack.enter_context(engines.running_services())
        settings = {
            "APP_ENV": "production",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "TRUSTED_HOSTS": "localhost",
            "PROXY_HOPS": "1",
            "MAIL_URL": self.mailbox.url,
            "MODEL": "openai-chat:scripted",
            "OPENAI_BASE_URL": f"{self.model.url}/v1",
            "OPENAI_API_KEY": "unused",
            "DATABASE_URL": database,
            "REDIS_URL": redis,
            "WEB_CONCURRENCY": str(workers),
            "USER_TOKENS_PER_DAY": "0",
            "USER_DOLLARS_PER_DAY": "0",
            "PUSH_HOSTS": "127.0.0.1",  # where nobody listens: a drill notifies no one
            "HOLES": "1" if holes else "",
            "PYTHONPATH": str(PARTS),
        }
        self.server = LiveServer(self.folder, "wsgi:app" if limited else "unlimited:app", **settings | environment)
        self.redis = redis

    def __enter__(self) -> Served:
        try:
            self.flask("db", "upgrade")
            self.stack.callback(self.server.stop)
            self.server.start()
            self._spawn(sys.executable, "-m", "flask", "--app", str(ROOT / "wsgi.py"), "jobs", log="jobs.log")
            self.url = self.front()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()
        self.mailbox.shutdown()
        self.model.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def flask(self, *arguments: str) -> None:
        """A command of the application's that must succeed."""
        command = [sys.executable, "-m", "flask", "--app", str(ROOT / "wsgi.py"), *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.server.environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)

    def _spawn(self, *command: str, log: str) -> None:
        """A process that ends with the server."""
        home = {name: str(self.folder) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
        with (self.folder / log).open("ab") as out:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.server.environment | home, stdout=out, stderr=out
            )
        self.stack.callback(process.wait, 120)
        self.stack.callback(process.terminate)

    def front(self, cookie: str = "", policy: str = "") -> str:
        """The https address of a Caddy in front, which redirects http, and may add a cookie to every request or put
        another *policy* in the place of the application's."""
        port = free_port()
        add = f'header_up Cookie "{cookie}"' if cookie else ""
        add += f'\n  header_down Content-Security-Policy "{policy}"' if policy else ""
        configuration = self.folder / f"Caddyfile-{port}"
        configuration.write_text(
            "{\n admin off\n auto_https off\n servers {\n  listener_wrappers {\n   http_redirect\n   tls\n  }\n }\n}\n"
            f"https://localhost:{port} {{\n bind 127.0.0.1\n tls {self.authority} {self.key}\n"
            f" log {{\n  output file {self.folder / 'access.log'}\n }}\n"
            f" reverse_proxy 127.0.0.1:{self.server.port} {{\n  {add}\n }}\n}}\n"
        )
        self._spawn(
            caddy() or "caddy", "run", "--config", str(configuration), "--adapter", "caddyfile", log="caddy.log"
        )
        url = f"https://localhost:{port}"

        def answers() -> bool:
            try:
                return Visitor(url, self.authority).ask("/livez").status == 200
            except OSError:
                return False

        wait_until(answers)
        return url

    def visitor(self, address: str = "127.0.0.1") -> Visitor:
        return Visitor(self.url, self.authority, address)

    def member(self, address: str = "127.0.0.1") -> tuple[Visitor, str]:
        """Someone who has just signed up, and their address; the password is ``PASSWORD``."""
        member = self.visitor(address)
        return member, self.mailbox.sign_up(member)

    @property
    def worker(self) -> int:
        """The process id of the first worker."""
        pid = self.server.process.pid if self.server.process else 0
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    @property
    def log(self) -> str:
        return self.server.log

    def answered(self) -> Counter[int]:
        """How many requests the proxy has seen answered with which status."""
        lines = (self.folder / "access.log").read_text().splitlines()
        return Counter(json.loads(line)["status"] for line in lines)

    def routes_seen(self) -> Counter[tuple[str, str]]:
        """Methods and paths, ids left out, that were answered with success or another place to go."""
        records = map(json.loads, (self.folder / "access.log").read_text().splitlines())
        return Counter(
            (record["request"]["method"], re.sub(r"[0-9a-f-]{36}", "ID", record["request"]["uri"].partition("?")[0]))
            for record in records
            if record["status"] < 400
        )

    def faults(self, own: bool = False) -> list[str]:
        """Tracebacks and errors in the application's log: but for those of the drill's own holes, or only those."""
        faults, lines = [], self.log.splitlines()
        for number, line in enumerate(lines):
            record = json.loads(line) if line.startswith("{") else {"message": line}
            exception = record.get("exception", "")
            if "Traceback" in line or record.get("level") in ("ERROR", "CRITICAL"):
                if not line.startswith("{"):  # a library's own, in plain lines
                    exception = "\n".join(lines[number : number + 60]).partition("\n{")[0]
                said = re.findall(r"^[\w.]+(?:Error|Exception|Exit|Interrupt)\b.*", exception, re.MULTILINE)
                if ("unlimited.py" in exception) == own:
                    faults.append(" ".join([record["message"], *(said or [exception[-800:]])]))
        return faults


def question(visitor: Visitor, text: str = "Hello?") -> tuple[str, str]:
    """Ask in a new conversation and wait for the answer; the ids of the conversation and of the run."""
    form = {"text": text, "client_key": str(uuid.uuid4())}
    asked = visitor.post("/chat", {"Accept": "application/json"}, **form)
    if asked.status != 201:
        raise SystemExit(f"a question was answered with {asked.status}: {asked.text[-500:]}")
    body = json.loads(asked.text)
    run = re.findall(r"/runs/([0-9a-f-]{36})/stop", body["messages"])[0]
    wait_until(lambda: json.loads(visitor.ask(f"/runs/{run}").text)["status"] != "running", 60)
    return body["url"].rpartition("/")[2], run


def table(*rows: tuple[object, ...]) -> None:
    """Rows in columns as wide as they need to be."""
    widths = [max(len(str(row[n])) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        print(
            "  " + "  ".join(f"{cell!s:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True
        )


def finish(problems: list[str]) -> None:
    """End this part: with 0 when there are no *problems*."""
    for problem in problems:
        print(f"  PROBLEM {problem}", flush=True)
    sys.stdout.flush()
    os._exit(bool(problems))  # not waiting for threads of servers that have no more clients


__all__ = ["PASSWORD", "PatientMailbox", "Served", "Visitor", "finish", "question", "table"]
