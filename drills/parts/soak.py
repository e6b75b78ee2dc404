"""50,000 pages and 5,000 answers, each read to its end, on one worker: after the first tenth its memory grows by at
most 10 %; its files, threads and connections, and the logs of events, do not grow.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import engines
import psycopg
import redis
from live import ROOT, LiveAnswer, LiveServer, Remote
from served import finish, table

PARTS = Path(__file__).parent
PAGES, ANSWERS, PEOPLE, TENTHS = 50_000, 5_000, 8, 10
MOST_GROWTH = 0.10
AS_MANY = 12  # files, threads and connections more than after the first tenth: what happens to be at work just then


class Person:
    """Reads ten pages for each question, and begins a new conversation now and then."""

    def __init__(self, server: LiveServer):
        self.remote, self.asked = Remote.signed_up(server), 0
        self.answer = self.follow(self.remote.ask("Hello?"))

    def follow(self, answer: LiveAnswer) -> LiveAnswer:
        *_, last = answer.follow()
        if last.kind == "reconnect":  # the run has ended just before the stream began
            *_, last = answer.follow()
        assert last.kind == "done", last
        return answer

    def turn(self) -> None:
        for number in range(PAGES // ANSWERS):
            url = (self.answer.conversation, "/chat", "/account/settings")[number % 3]
            status, _ = self.remote.get(url, Accept="text/html")
            assert status == 200, (url, status)
        self.asked += 1
        if self.asked % 20 == 0:
            self.answer = self.follow(self.remote.ask("Hello again?"))
            return
        form = {"text": f"And question {self.asked}?", "client_key": str(uuid.uuid4())}
        status, _, body = self.remote.post(f"{self.answer.conversation}/messages", **form)
        assert status == 201, body
        self.answer = self.follow(LiveAnswer(self.remote, json.loads(body) | {"url": self.answer.conversation}))


def figures(worker: int, database: psycopg.Connection, store: redis.Redis) -> dict[str, float]:
    process = Path(f"/proc/{worker}")
    pss = re.findall(r"^Pss: +(\d+)", (process / "smaps_rollup").read_text(), re.MULTILINE)[0]
    connections = database.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    return {
        "memory, MB": int(pss) / 1024,
        "files": len(list((process / "fd").iterdir())),
        "threads": len(list((process / "task").iterdir())),
        "connections": (connections.fetchone() or [0])[0],
        "logs of events and other keys in Redis": store.dbsize(),
    }


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="drill-"))
    path = f"{PARTS}:{PARTS.parents[1] / 'benchmarks'}"
    with engines.running_services() as (url, redis_url):
        settings = {"DATABASE_URL": url, "REDIS_URL": redis_url, "WEB_CONCURRENCY": "1", "PYTHONPATH": path}
        settings |= {"USER_TOKENS_PER_DAY": "0", "USER_DOLLARS_PER_DAY": "0", "BENCH_TOKENS": "20", "BENCH_RATE": "200"}
        server = LiveServer(folder, "tireless:app", **settings)
        command = [sys.executable, "-m", "flask", "--app", str(ROOT / "wsgi.py"), "db", "upgrade"]
        subprocess.run(command, cwd=folder, env=server.environment, check=True)
        server.start()
        database, store = psycopg.connect(url, autocommit=True), redis.Redis.from_url(redis_url)
        worker = int(Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()[0])
        people = [Person(server) for _ in range(PEOPLE)]
        rows, done, lock, started = [], 0, threading.Lock(), time.monotonic()

        def work(person: Person) -> None:
            nonlocal done
            while True:
                with lock:
                    if done >= ANSWERS:
                        return
                    done += 1
                    if done % (ANSWERS // TENTHS) == 0:
                        rows.append(figures(worker, database, store))
                        values = ", ".join(f"{name} {value:.0f}" for name, value in rows[-1].items())
                        print(f"  {done:>5} answers, {time.monotonic() - started:4.0f} s: {values}", flush=True)
                person.turn()

        with ThreadPoolExecutor(PEOPLE) as pool:
            list(pool.map(work, people))
        log = [line for line in server.log.splitlines() if '"level": "ERROR"' in line or "Traceback" in line]
        server.stop()
    problems = log[:5]
    for name, first in rows[0].items():
        last = max(row[name] for row in rows[-3:])
        most = first * (1 + MOST_GROWTH) + (AS_MANY if name != "memory, MB" else 0)
        table((name, f"{first:.0f}, at the end at most {last:.0f}", f"allowed {most:.0f}"))
        problems += [] if last <= most else [f"{name}: {first:.0f} became {last:.0f}"]
    finish(problems)


if __name__ == "__main__":
    main()
