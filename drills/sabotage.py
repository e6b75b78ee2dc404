"""`flask ready` of a deployment like production's, then of one that is spoiled in a single way, again and again.

Each sabotage has to turn exactly the check of its own name red, with exit status 1; what cannot be measured any more
has to say so. The deployment: two gunicorn workers behind Caddy with TLS, PostgreSQL with the two roles, Redis, a
process for jobs, restic, Prometheus, and Alertmanager with a receiver.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lab as disks
from monitoring_lab import Lab, free_port, query, until
from parts.production import HTTPS, PARTS, Changes, Deployment, listens

PAGE = "groups:\n  - name: drill\n    rules:\n      - {alert: Drill, expr: vector(1), labels: {severity: page}}\n"
Sabotage = Callable[[Deployment], Iterator[Changes | None]]


def setting(**changes: str) -> Sabotage:
    """Another environment."""

    def spoil(site: Deployment) -> Iterator[Changes]:
        yield changes

    return spoil


def proxy(**changes: str) -> Sabotage:
    """Another proxy."""

    def spoil(site: Deployment) -> Iterator[None]:
        site.front(**changes)
        yield None
        site.front()

    return spoil


def statement(spoiling: str, mending: str) -> Sabotage:
    """Another database."""

    def spoil(site: Deployment) -> Iterator[None]:
        site.psql("-c", spoiling)
        yield None
        site.psql("-c", mending)

    return spoil


def aged(key: str) -> Sabotage:
    """A record of the job store that is a century old."""
    older = "UPDATE huey_kv SET value = convert_to(replace(convert_from(value, 'UTF8'), '\"{}', '\"{}'), 'UTF8') {}"
    year, where = time.strftime("%Y"), f"WHERE key = '{key}'"
    return statement(older.format(year, "1926", where), older.format("1926", year, where))


def full_disk(site: Deployment) -> Iterator[Changes]:
    folder = disks.small_disk("full", 8)
    disks.fill(folder)
    yield {"DATA_DIR": str(folder)}
    subprocess.run(["umount", str(folder)], check=True)


def superuser(site: Deployment) -> Iterator[Changes]:
    yield {"DATABASE_URL": site.superuser}


def sqlite(site: Deployment) -> Iterator[Changes]:
    yield {"DATABASE_URL": f"sqlite:///{site.lab.folder}/other.db"}


def hops(site: Deployment) -> Iterator[None]:
    site.lab.stop(site.server)
    site.server = site.serve(PROXY_HOPS="2")
    yield None
    site.lab.stop(site.server)
    site.server = site.serve()


def old_tls(site: Deployment) -> Iterator[None]:
    port = free_port()
    site.front(port=port)
    pem = str(site.lab.folder / "site.pem")
    relay = site.lab.spawn(sys.executable, str(PARTS / "old_tls.py"), str(HTTPS), pem, str(port))
    until(lambda: listens(HTTPS), 10, "old TLS")
    yield None
    site.lab.stop(relay)
    site.front()


def rule_removed(site: Deployment) -> Iterator[None]:
    site.load_rules(re.sub(r"(?m)^\s*- alert: BackupStale\n(?:(?!\s*- alert:).*\n)+", "", site.rules))
    yield None
    site.load_rules(site.rules)


def page_fires(site: Deployment) -> Iterator[None]:
    site.load_rules(site.rules + PAGE.partition("\n")[2])
    until(lambda: query(site.prometheus, 'ALERTS{alertname="Drill",alertstate="firing"}'), 30, "the alert")
    yield None
    site.load_rules(site.rules)


def receiver_dead(site: Deployment) -> Iterator[None]:
    site.receiver.server.shutdown()
    site.receiver.server.server_close()
    yield None


def no_metrics(site: Deployment) -> Iterator[Changes]:
    known = len(site.lab.processes)
    (site.lab.folder / "prometheus-2").mkdir()
    address = empty_prometheus(site)
    yield {"PROMETHEUS_URL": address}
    for process in site.lab.processes[known:]:
        site.lab.stop(process)


def empty_prometheus(site: Deployment) -> str:
    """One with our rules, to which nobody sends anything."""
    folder, port = site.lab.folder / "prometheus-2", free_port()
    (folder / "alerts.yml").write_text(site.rules)
    (folder / "prometheus.yml").write_text("rule_files: [alerts.yml]\n")
    command = [
        str(site.lab.parts / "prometheus"),
        "--config.file=prometheus.yml",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    site.lab.spawn(*command, "--storage.tsdb.path=tsdb", cwd=folder)
    until(lambda: listens(port), 30, "another Prometheus")
    time.sleep(5)
    return f"http://127.0.0.1:{port}"


def no_jobs(site: Deployment) -> Iterator[None]:
    site.lab.stop(site.jobs)
    yield from aged("beat")(site)
    site.jobs = site.spawn("-m", "flask", "--app", str(site.lab.project / "wsgi.py"), "jobs")


CLOSED = "127.0.0.1:1"
SABOTAGES: list[tuple[str, str, Sabotage]] = [
    ("environment", "APP_ENV=development", setting(APP_ENV="development")),
    ("debug", "FLASK_DEBUG=1", setting(FLASK_DEBUG="1")),
    ("secret-key", "SECRET_KEY=changeme", setting(SECRET_KEY="changeme")),
    ("trusted-hosts", "the default domain", setting(TRUSTED_HOSTS="example.com")),
    ("mail", "no MAIL_URL", setting(MAIL_URL="")),
    ("model", "a model of tests", setting(MODEL="test")),
    ("push-key", "half a key", setting(VAPID_PRIVATE_KEY="half")),
    ("database-engine", "SQLite and 2 workers", sqlite),
    ("shared-state", "limits of 2 workers in memory", setting(REDIS_URL="")),
    ("data-dir", "a full disk", full_disk),
    ("database", "nobody listens", setting(DATABASE_URL=f"postgresql://app@{CLOSED}/app")),
    ("migrations", "an older schema", statement(
        "CREATE TABLE kept AS TABLE alembic_version; UPDATE alembic_version SET version_num = '1795420000'",
        "UPDATE alembic_version SET version_num = kept.version_num FROM kept; DROP TABLE kept")),
    ("database-role", "a superuser", superuser),
    ("pool", "500 threads", setting(WEB_THREADS="500")),
    ("indexes", "one is gone", statement(
        "CREATE TABLE kept AS SELECT indexdef FROM pg_indexes WHERE indexname LIKE 'ix_messages%' LIMIT 1;"
        "DO $$ BEGIN EXECUTE 'DROP INDEX ' || (SELECT split_part(indexdef, ' ', 3) FROM kept); END $$",
        "DO $$ BEGIN EXECUTE (SELECT indexdef FROM kept); END $$; DROP TABLE kept")),
    ("redis", "nobody listens", setting(REDIS_URL=f"redis://{CLOSED}/0")),
    ("headers", "the proxy takes the CSP away", proxy(before="header -Content-Security-Policy")),
    ("csrf", "a form without a token is taken", proxy(
        before="@forged {\n method POST\n path /logout\n header Content-Length 2\n }\n respond @forged 200")),
    ("input-validation", "a large body is taken", proxy(
        before="@large {\n method POST\n path /logout\n header Content-Length 600002\n }\n respond @large 400")),
    ("host-names", "the proxy hides the name", proxy(
        upstream="header_up Host localhost\n  header_up X-Forwarded-Host localhost")),
    ("telemetry", "nobody listens", setting(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{CLOSED}")),
    ("certificate", "expired", proxy(pair="expired")),
    ("tls", "TLS 1.1 is spoken", old_tls),
    ("https-redirect", "http is answered", proxy(plain="respond 200")),
    ("load-balancer", "no process is ready", proxy(before="respond /readyz 503")),
    ("proxy-hops", "2 instead of 1", hops),
    ("backup-repository", "another password", setting(RESTIC_PASSWORD="another")),
    ("backup-age", "the last one is old", aged("backup")),
    ("restore-drill", "the last one is old", aged("drill")),
    ("alert-rules", "BackupStale is removed", rule_removed),
    ("load-test", "the last one is old", aged("load-test")),
    ("metrics", "none arrive", no_metrics),
    ("alerts", "one fires", page_fires),
    ("background-jobs", "no process for them", no_jobs),
    ("user-journey", "questions are refused", proxy(before="@ask {\n method POST\n path /chat\n }\n respond @ask 502")),
    ("alert-receiver", "nobody listens", receiver_dead),
]  # fmt: skip


def red(results: dict[str, dict[str, Any]]) -> list[str]:
    return [name for name, result in results.items() if result["status"] == "fail"]


def main() -> int:
    problems = 0
    with Lab() as lab:
        site = Deployment(lab)
        status, results = site.ready()
        for result in results.values():
            print(f"  {result['status']:<13} {result['id']:<18} {result['evidence'][:110]}", flush=True)
        problems += status != 0 or bool(red(results))
        print(f"  {'sabotage':<18} {'what':<34} exit  red", flush=True)
        chosen = os.environ.get("DRILL_SABOTAGES", "").split(",")
        for name, what, spoil in SABOTAGES:
            if chosen == [""] or name in chosen:
                with contextmanager(spoil)(site) as changes:
                    status, results = site.ready(**(changes or {}))
                right = (status, red(results)) == (1, [name])
                problems += not right
                print(
                    f"  {name:<18} {what:<34} {status:>4}  {', '.join(red(results))}{'' if right else '  PROBLEM'}",
                    flush=True,
                )
                for wrong in () if right else red(results) or results:
                    print(f"      {wrong}: {results[wrong]['status']}, {results[wrong]['evidence'][:300]}", flush=True)
        if chosen == [""]:
            status, results = site.ready(ALERTMANAGER_URL="")
            print(f"  mended again: exit {status}, red: {', '.join(red(results)) or 'none'}", flush=True)
            problems += status
    print(f"  {len(SABOTAGES)} sabotages of {len(results)} checks, {problems} problems", flush=True)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
