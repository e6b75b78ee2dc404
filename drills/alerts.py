"""Every alert fires once and reaches a receiver: some by a real fault, the others by the metrics that one sends.

Waiting is shortened (``for``, intervals, the look two hours back), conditions are not.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml
from monitoring_lab import App, Lab, Person, emitting, until, versions

SHORTER = ((r"for: \d+[smh]", "for: 2s"), (r"interval: \d+s", "interval: 2s"), (r"offset 2h", "offset 20s"))
# What takes too long, costs money or needs a second machine: its metrics, by the application's own instruments.
EMITTED = """
import time
from app import create_app
create_app()
from opentelemetry import metrics as api
from app.observability import metrics as m
began = time.time()
meter = api.get_meter("drill")
meter.create_up_down_counter("http.server.active_requests", "{request}").add(16, {"http.request.method": "GET"})
# With a label of its own: what this process really uses has the same name.
memory = lambda _: [api.Observation(300e6 + 30e6 * (time.time() - began), {"emitted": "yes"})]
meter.create_observable_up_down_counter("process.memory.usage", [memory], "By")
m.watch("app.limits", lambda: [(16, {"of": "threads"}), (10, {"of": "streams"}), (10, {"of": "runs"})])
m.watch("app.ready", lambda: [(0.5, {"check": "mail"})])
for pool in ("used", "size"):
    m.watch(f"app.database.pool.{pool}", lambda: [(20, {"engine": "default"})])
values = {"app.streams.open": 10, "app.runs.live": 10, "app.loop.lag": 0.9, "app.database.replication.lag": 60.0,
          "app.backup.age": 1e6, "app.backup.drill.age": 1e7, "app.queue.length": 500, "app.saves.behind": 100}
for name, value in values.items():
    m.watch(name, lambda value=value: value)
while True:
    m.add("app.cost.usd", 5, model="priced")
    m.add("app.sign_ins", 40, outcome="failed")
    m.add("app.errors", 5, type="Emitted", where="run")
    m.add("app.tool_calls", 8, tool="my_usage", outcome="failed")
    m.add("app.saves.failed", scope="run")
    m.add("app.jobs", task="app.operations.backup.create_if_due", outcome="failed")
    time.sleep(2)
"""


class Receiver:
    """Takes Alertmanager's webhooks; when each alert arrived first."""

    def __init__(self) -> None:
        self.arrived: dict[str, float] = {}
        arrived = self.arrived

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                for alert in json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"]:
                    if alert["status"] == "firing":
                        arrived.setdefault(alert["labels"]["alertname"], time.monotonic())
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Drill:
    """The stack with shortened waiting, and who has fired so far."""

    def __init__(self, lab: Lab):
        self.lab, self.receiver = lab, Receiver()
        rules = (lab.project / "monitoring/prometheus/alerts.yml").read_text()
        self.names = [r["alert"] for g in yaml.safe_load(rules)["groups"] for r in g["rules"] if "alert" in r]
        for pattern, shorter in SHORTER:
            rules = re.sub(pattern, shorter, rules)
        port = lab.alertmanager(f"http://127.0.0.1:{self.receiver.server.server_port}/")
        self.address = lab.prometheus(rules, alertmanager=port)
        self.missing: list[str] = []

    def expect(self, fault: str, names: list[str], since: float, seconds: float = 90) -> None:
        """Wait until each of *names* has reached the receiver; say after how many seconds since the fault."""
        try:
            until(lambda: set(names) <= self.receiver.arrived.keys(), seconds, fault)
        except TimeoutError:
            self.missing += [name for name in names if name not in self.receiver.arrived]
        for name in set(names) & self.receiver.arrived.keys():
            took = self.receiver.arrived[name] - since
            print(f"  {took:5.0f} s  {name} ({fault})", flush=True)
            if took < 0:
                self.missing.append(f"{name} after its cause, which it preceded")


def stalled_provider() -> int:
    """A server that takes connections and never says anything; its port."""
    server = socket.create_server(("127.0.0.1", 0), backlog=500)
    held: list[socket.socket] = []

    def take() -> None:
        while True:
            held.append(server.accept()[0])

    threading.Thread(target=take, daemon=True).start()
    return int(server.getsockname()[1])


def together(work: list[threading.Thread]) -> None:
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()


def questions(person: Person, count: int) -> None:
    for _ in range(count):
        person.question("Are you there?")


def pages(app: App, count: int) -> None:
    person = Person(app)
    for _ in range(count):  # over several exports: what the first one brings is no increase
        person.ask("/chat")
        time.sleep(0.08)


def main() -> int:
    with Lab() as lab:
        versions(lab.parts)
        drill = Drill(lab)
        lab.probe("probe_success 1\nprobe_ssl_earliest_cert_expiry 4e9\n")
        services = lab.services()
        app = lab.app(
            DATABASE_URL=services["database"], REDIS_URL=services["redis"], MODEL="openai-chat:stalled",
            OPENAI_BASE_URL=f"http://127.0.0.1:{stalled_provider()}/v1", OPENAI_API_KEY="none", RUN_TIMEOUT_SECONDS="8",
            MAX_RUNS="45",
        )  # fmt: skip
        people = [Person(app, f"10.1.0.{number}").sign_up() for number in range(6)]
        # Objectives say nothing about a site that few visit.
        together([threading.Thread(target=pages, args=(app, 250)) for _ in range(6)])

        since = time.monotonic()
        for _ in range(3):
            together([threading.Thread(target=questions, args=(person, 11)) for person in people])
            time.sleep(10)
        drill.expect("the provider stalls", ["FirstWordsBurnFast", "FirstWordsBurnSlowly", "AnswersFail"], since)
        # Those for which there was no place were answered with 503. (A dead database would keep these two quiet.)
        drill.expect("more is asked than may run", ["AvailabilityBurnsFast", "AvailabilityBurnsSlowly"], since)

        since = time.monotonic()
        os.kill(services["pids"]["redis"], signal.SIGKILL)
        drill.expect("Redis is killed", ["ComponentDegraded"], since)

        since = time.monotonic()
        os.kill(services["pids"]["postgres"], signal.SIGQUIT)
        drill.expect("the database is killed", ["DatabaseDown"], since)

        since = time.monotonic()
        app.process.kill()
        lab.probe("probe_success 0\nprobe_ssl_earliest_cert_expiry 4e9\n")
        drill.expect("the application is killed", ["SiteDown", "NoMetrics"], since, 200)

        since = time.monotonic()
        lab.probe(f"probe_success 1\nprobe_ssl_earliest_cert_expiry {time.time() + 86400}\n")
        with emitting(lab, EMITTED):
            rest = [name for name in drill.names if name not in drill.receiver.arrived]
            drill.expect("its metrics", rest, since, 200)
        drill.receiver.server.shutdown()
    print(f"  {len(drill.receiver.arrived)} of {len(drill.names)} alerts were delivered", flush=True)
    for name in drill.missing:
        print(f"  PROBLEM not delivered: {name}")
    return bool(drill.missing)


if __name__ == "__main__":
    sys.exit(main())
