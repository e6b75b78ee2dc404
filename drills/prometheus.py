"""A real Prometheus fed by two workers under load: every query has data, counters equal the load's own ledger."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import yaml
from monitoring_lab import PASSWORD, App, Lab, Person, emitting, queries, query, until, versions

PEOPLE, QUESTIONS = 6, 4
# What no load from outside brings forth in a minute: emitted with the same instruments by a process beside the workers.
ELSEWHERE = """
import time
from app import create_app
create_app()
from app.observability import metrics as m
ages = {"app.database.replication.lag": 1.5, "app.backup.age": 3600.0, "app.backup.drill.age": 86400.0}
for name, value in ages.items():
    m.watch(name, lambda value=value: value)
for name in ("app.ready", "app.limits", "app.database.pool.used", "app.database.pool.size"):
    m.watch(name, lambda: None)
while True:
    m.add("app.feedback", rating="good")
    m.add("app.exports", format="json")
    m.add("app.pushes", outcome="sent")
    m.add("app.cleanup.rows", what="sessions")
    m.add("app.cost.usd", 0.01, model="priced")
    m.add("app.jobs", task="emitted", outcome="ok")
    m.record("app.job.duration", 0.2, task="emitted")
    m.add("app.errors", type="Emitted", where="run")
    time.sleep(1)
"""
PROBE = """probe_success 1
probe_ssl_earliest_cert_expiry 4e9
"""


def use(person: Person, ledger: Counter[str]) -> None:
    """One person's visit, written down as they were told."""
    person.sign_up()
    ledger["sign-ups"] += 1
    for number in range(QUESTIONS):
        asked = ("count to 40", "show my usage")
        status, run = person.question(asked[number] if number < len(asked) else "count to 3")
        ledger[f"POST /chat {status}"] += 1
        if number == 0:
            time.sleep(1)
            person.ask(f"{run}/stop", go="1")
        ledger[f"run {person.outcome(run)}"] += 1
        person.ask("/chat")
        ledger["GET /chat"] += 1
    stranger = Person(person.app, "10.9.9.9")
    stranger.ask("/login", email=person.email, password=f"not {PASSWORD}")
    ledger["sign-ins failed"] += 1


def counters(address: str, ledger: Counter[str]) -> Iterator[str]:
    """What Prometheus has counted otherwise than the people wrote down."""
    requests = 'sum(http_server_request_duration_seconds_count{http_route="/chat",http_request_method='
    counted = {
        "sum(app_sign_ups_total)": ledger["sign-ups"],
        'sum(app_runs_total{outcome="done"})': ledger["run done"],
        'sum(app_runs_total{outcome="stopped"})': ledger["run stopped"],
        "sum(app_run_duration_seconds_count)": ledger["run done"] + ledger["run stopped"],
        'sum(app_sign_ins_total{outcome="failed"})': ledger["sign-ins failed"],
        f'{requests}"POST"}})': ledger["POST /chat 201"],
        f'{requests}"GET"}})': ledger["GET /chat"],
    }
    for expression, expected in counted.items():

        def equal(expression: str = expression, expected: int = expected) -> bool:
            found = query(address, expression)
            return bool(found) and float(found[0]["value"][1]) == expected

        try:
            until(equal, 20, expression)
            print(f"  {expression} = {expected}, as in the ledger", flush=True)
        except TimeoutError:
            yield f"{expression}: {query(address, expression)}, the ledger says {expected}"


def panels(address: str, monitoring: Path) -> Iterator[str]:
    """Queries of panels without data, or without a label that their legend names."""
    shown = 0
    for panel, expression, legend in queries(monitoring):
        found = query(address, expression)
        shown += bool(found)
        wanted = set(re.findall(r"{{(\w+)}}", legend))
        if not found:
            yield f"no data: {panel}: {expression}"
        elif lacking := [row["metric"] for row in found if not wanted <= row["metric"].keys()]:
            yield f"{panel}: {expression} lacks a label of {wanted}: {lacking[0]}"
    print(f"  {shown} queries of panels have data", flush=True)


def alerts(address: str, rules: str) -> Iterator[str]:
    """Operands of alert expressions without data."""
    shown = 0
    for name, expression in operands(rules):
        found = query(address, expression)
        shown += bool(found)
        if not found:
            yield f"no data: {name}: {expression}"
    print(f"  {shown} operands of alerts have data", flush=True)


def load(app: App) -> Counter[str]:
    """Everybody uses the application at once; what they were told."""
    ledger: Counter[str] = Counter()
    visits = [threading.Thread(target=use, args=(Person(app, f"10.0.0.{n}"), ledger)) for n in range(PEOPLE)]
    for visit in visits:
        visit.start()
    for visit in visits:
        visit.join()
    print(f"  ledger: {dict(ledger)}", flush=True)
    return ledger


def main() -> int:
    with Lab() as lab:
        versions(lab.parts)
        monitoring = lab.project / "monitoring"
        rules = (monitoring / "prometheus/alerts.yml").read_text()
        services = lab.services()
        app = lab.app(WEB_CONCURRENCY="2", DATABASE_URL=services["database"], REDIS_URL=services["redis"])
        address = lab.prometheus(re.sub("interval: (30|15)s", "interval: 2s", rules))
        with emitting(lab, ELSEWHERE):
            lab.probe(PROBE)
            problems = list(counters(address, load(app)))
            workers = {row["metric"]["instance"] for row in query(address, "app_streams_open")}
            print(f"  {len(workers)} workers and what is emitted beside them", flush=True)
            if len(workers) < 3:
                problems.append("a worker has not reported")
            person = Person(app).sign_up()  # rates need samples that change
            for _ in range(20):
                person.ask("/chat")
                time.sleep(0.5)
            person.question("count to 200")
            time.sleep(6)
            problems += [*panels(address, monitoring), *alerts(address, rules)]
    for problem in problems:
        print(f"  PROBLEM {problem}")
    return bool(problems)


def operands(rules: str) -> Iterator[tuple[str, str]]:
    """What the comparisons of alerts compare, without the comparison: it must have data whether or not it fires."""
    for rule in (rule for group in yaml.safe_load(rules)["groups"] for rule in group["rules"] if "alert" in rule):
        text = re.sub(r"\s+", " ", rule["expr"])
        text = re.sub(r" offset \w+", "", text).replace("absent(app_limits)", "app_limits")
        for part in re.split(r" and on \(\) | and | or ", text):
            left = re.split(r" (?:<|>|==) ", part)[0].strip()
            while left.startswith("(") and left.count("(") > left.count(")"):
                left = left[1:].strip()
            # a counter that nothing has raised yet has no series: that is the alert's own "no"
            quiet = 'outcome="failed"' in left or 'outcome="error"' in left
            if left and not quiet:
                yield rule["alert"], left


if __name__ == "__main__":
    sys.exit(main())
