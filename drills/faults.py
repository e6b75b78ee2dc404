"""Hurts all that the application stands on, one thing after another, while people use it; prints what they noticed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import lab

Undo = Callable[[], object] | None
HOLD, SETTLE, PEOPLE = 8.0, 6.0, 4
COLUMNS = "fault                         sent  failed  told to wait  worst s  to recover s"


class Campaign:
    """People who use one application, and what is done to it."""

    def __init__(self, app: lab.App, name: str):
        self.book = lab.WORK / f"{name}.jsonl"
        self.app = app
        asker = str(lab.HERE / "parts/asker.py")
        self.people = lab.spawn(sys.executable, asker, str(app.port), str(PEOPLE), str(self.book), log="asker.log")
        self.failures: list[str] = []
        lab.wait_until(lambda: sum(e["what"] == "ask" for e in self.entries()) >= PEOPLE, 60, "people who ask")
        time.sleep(SETTLE)

    def entries(self) -> list[dict]:
        if not self.book.exists():
            return []
        return [json.loads(line) for line in self.book.read_text().splitlines() if line.endswith("}")]

    def hurt(self, name: str, do: Callable[[], Undo], hold: float = HOLD) -> None:
        begun = time.time()
        undo = do()
        time.sleep(hold)
        if undo:
            undo()
        over = time.time()
        # Recovered: everyone has been answered again after the last failure, and a question was accepted.
        lab.wait_until(lambda: self._calm_since(over), 90, f"recovery from {name}")
        time.sleep(SETTLE)
        during = [entry for entry in self.entries() if begun <= entry["at"] and "seconds" in entry]
        failed = [entry for entry in during if entry["failed"]]
        recovery = max([entry["at"] - over for entry in failed if entry["at"] > over], default=0.0)
        worst = max((entry["seconds"] for entry in during), default=0.0)
        told = sum(entry["told"] for entry in during)
        print(f"{name:<28} {len(during):>5} {len(failed):>7} {told:>13} {worst:>8.2f} {recovery:>13.1f}", flush=True)

    def _calm_since(self, moment: float) -> bool:
        after = [entry for entry in self.entries() if entry["at"] > moment and "seconds" in entry]
        asked = [entry for entry in after if entry["what"] == "ask" and entry["status"] == 201]
        return bool(asked) and not any(entry["failed"] for entry in after[-3:])

    def audit(self) -> dict:
        self.people.terminate()
        self.people.wait(300)
        found = self.entries()[-1]
        if found["what"] != "audit":
            raise SystemExit((lab.WORK / "asker.log").read_text()[-3000:])
        print({name: value for name, value in found.items() if name not in ("at", "what")}, flush=True)
        return found


def restart(postgres: lab.Postgres) -> Undo:
    postgres.stop()
    postgres.start()
    return None


def pause(postgres: lab.Postgres) -> Undo:
    postgres.signal(signal.SIGSTOP)
    return lambda: postgres.signal(signal.SIGCONT)


def slow(redis: lab.Redis) -> Undo:
    for _ in range(8):
        redis.say("CLIENT", "PAUSE", "700")
        time.sleep(1)
    return None


def kill_worker(app: lab.App, what: signal.Signals) -> Undo:
    os.kill(lab.children(app.server.pid)[0], what)
    return None


def storm(port: int) -> Undo:
    sockets = []
    for _ in range(600):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", port))
        sockets.append(connection)
    time.sleep(2)
    for connection in sockets:
        try:
            connection.send(b"GET /login HTTP/1.1\r\nHost: localhost\r\n")  # and never the rest
        except OSError:
            pass
    return lambda: [connection.close() for connection in sockets]


def never_read(campaign: Campaign) -> Undo:
    """Someone opens streams with a tiny buffer and reads none of them."""
    guest = Guest(campaign.app.port)
    sockets = [guest.stream() for _ in range(6)]
    return lambda: [connection.close() for connection in sockets]


class Guest:
    def __init__(self, port: int):
        sys.argv[1:] = [str(port), "0", os.devnull]
        sys.path.insert(0, str(lab.HERE / "parts"))
        import asker

        self.port, self.person = port, asker.Person()
        self.person.sign_up()

    def stream(self) -> socket.socket:
        import re
        import uuid

        form = {"text": "count to 400", "client_key": str(uuid.uuid4())}
        answer = json.loads(self.person.request("ask", "POST", "/chat", form)[1])
        (events,) = re.findall(r'data-events="([^"]+)"', answer["messages"])
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(("127.0.0.1", self.port))
        cookie = "; ".join(f"{name}={value}" for name, value in self.person.cookies.items())
        head = f"GET {events} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nCookie: {cookie}\r\n\r\n"
        connection.sendall(head.encode())
        return connection


def two_migrations(app: lab.App, postgres: lab.Postgres) -> None:
    postgres.sql("CREATE DATABASE twice")
    environment = app.environment | {"DATABASE_URL": postgres.url.removesuffix("app") + "twice"}
    command = [str(app.path / ".venv/bin/flask"), "--app", f"{app.path}/wsgi.py", "db", "upgrade"]
    both = [subprocess.Popen(command, cwd=lab.WORK, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate()[1].decode() for process in both]
    if any(process.returncode for process in both):
        raise SystemExit(f"two migrations at once: {[each[-500:] for each in said]}")
    print(f"{'two migrations at once':<28} both end well", flush=True)


def main() -> None:
    disk, data = lab.small_disk("tables", 96), lab.small_disk("data", 16)
    postgres, redis, mood = lab.Postgres(disk), lab.Redis(), lab.WORK / "mood"
    mood.write_text("fine")
    provider_port = lab.free_port()

    def provider() -> subprocess.Popen[bytes]:
        return lab.spawn(
            sys.executable, str(lab.HERE / "parts/moody.py"), str(provider_port), str(mood), log="moody.log"
        )

    def set_mood(value: str) -> Undo:
        mood.write_text(value)
        return lambda: mood.write_text("fine")

    model = provider()
    environment = {
        "DATABASE_URL": postgres.url,
        "REDIS_URL": redis.url,
        "MODEL": "openai-chat:moody",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{provider_port}/v1",
        "OPENAI_API_KEY": "none",
        "RUN_TIMEOUT_SECONDS": "20",
    }
    app = lab.App(lab.project(), data, **environment)
    two_migrations(app, postgres)
    campaign = Campaign(app, "people")
    print(COLUMNS, flush=True)

    def kill_provider() -> Undo:
        model.kill()
        return provider

    def kill_redis() -> Undo:
        redis.kill()
        return redis.start

    faults: dict[str, Callable[[], Undo]] = {
        "nothing": lambda: None,
        "PostgreSQL restarted": lambda: restart(postgres),
        "PostgreSQL paused": lambda: pause(postgres),
        "PostgreSQL full": lambda: lab.fill(disk),
        "Redis killed": kill_redis,
        "Redis slow": lambda: slow(redis),
        "Redis flushed": lambda: redis.say("FLUSHALL"),
        "disk full": lambda: lab.fill(data),
        "provider slow": lambda: set_mood("slow"),
        "provider rubbish": lambda: set_mood("rubbish"),
        "provider dead": kill_provider,
        "worker killed (-9)": lambda: kill_worker(app, signal.SIGKILL),
        "worker ended (SIGTERM)": lambda: kill_worker(app, signal.SIGTERM),
        "connection storm": lambda: storm(app.port),
        "clients that never read": lambda: never_read(campaign),
    }
    only = sys.argv[1:]
    for name, do in faults.items():
        if not only or name in only:
            campaign.hurt(name, do)
    audits = [campaign.audit()]
    if not only or "clock jump" in only:
        library, offset = lab.WORK / "clock.so", lab.WORK / "offset"
        source = str(lab.HERE / "parts/clock.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), source, "-ldl"], check=True)
        offset.write_bytes(bytes(8))
        preload = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}
        jumping = Campaign(lab.App(app.path, data, jobs=False, **environment, **preload), "jumping")

        def jump(seconds: int) -> Undo:
            with offset.open("r+b") as file:
                file.write(seconds.to_bytes(8, sys.byteorder))
            return None

        jumping.hurt("clock an hour ahead", lambda: jump(3600))
        jumping.hurt("clock back again", lambda: jump(0))
        audits.append(jumping.audit())
    lost = {name: sum(a[name] for a in audits) for name in ("questions lost", "answers lost", "stuck runs")}
    print(", ".join(f"{name}: {value}" for name, value in lost.items()), flush=True)
    if any(lost.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.end_all()
        for name in ("tables", "data"):
            subprocess.run(["umount", "-l", str(lab.WORK / name)], check=False, stderr=subprocess.DEVNULL)
