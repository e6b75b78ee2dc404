"""What is asked of a deployment. A check returns its evidence, raises NotMeasuredError with a reason, or raises what it
found to be wrong. Each gets the deployment and its row of ``checklist.toml``."""

import os
import re
import secrets
import shutil
import socket
import ssl
import tempfile
import time
import warnings
from datetime import timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import httpx2
from cryptography import x509
from flask import Flask, current_app
from redis import Redis
from sqlalchemy import inspect, text

from app import jobs
from app.config import production_problems, settings
from app.database import SPARE_CONNECTIONS, Model, db, now
from app.operations import OperationError, backup, journey
from app.security.headers import TABLE as HEADERS

Row = dict[str, Any]
FORGED = "198.51.100.66"  # an address of nobody (RFC 5737)
LOGFIRE = "https://logfire-{}.pydantic.dev"


class NotMeasuredError(Exception):
    """Why something could not be asked."""


class Deployment:
    """The settings and parts of this installation, and the site at *url*, if one is given."""

    def __init__(self, url: str | None = None):
        self.url, self.problems = (url or "").rstrip("/"), dict(production_problems(settings()))

    @cached_property
    def app(self) -> Flask:
        """The application as these settings make it, but with the demo model, which costs nothing."""
        if self.problems:
            raise NotMeasuredError("the application refuses to start")
        from app import create_app
        from app.chat.model.demo import demo_model

        app = create_app(settings())
        app.extensions["model"] = demo_model()
        return app

    @cached_property
    def site(self) -> httpx2.Client:
        """The site, or the application in this process."""
        if not self.url:
            return journey.within(self.app)
        client = httpx2.Client(base_url=self.url, timeout=10)
        try:
            client.get("/livez")
        except httpx2.TransportError as error:
            raise NotMeasuredError(f"{self.url} cannot be asked: {error}") from error
        return client

    @property
    def host(self) -> tuple[str, int]:
        """Name and port of the site."""
        site = urlsplit(_given(self.url, "without --url there is no site to ask"))
        return site.hostname or "", site.port or 443


def _given(value: Any, why: str) -> Any:
    if not value:
        raise NotMeasuredError(why)
    return value


def _must(condition: object, evidence: str) -> str:
    if not condition:
        raise OperationError(evidence)
    return evidence


def variables(deployment: Deployment, row: Row) -> str:
    """What production refuses of the settings that the row names."""
    wrong = [f"{name}: {deployment.problems[name]}" for name in row["variables"] if name in deployment.problems]
    return _must(not wrong, "; ".join(wrong)) or "accepted"


def probe(deployment: Deployment, row: Row) -> str:
    """What one request is answered with: a status, or anything that does not show a text."""
    wanted = {"host": None, "bytes": 0, "remote": False, "status": None, "hides": None} | row["probe"]
    told = {"Host": wanted["host"]} if wanted["host"] else {}
    _given(deployment.url or not wanted["remote"], "without --url there is no site to ask")
    answer = deployment.site.request(wanted["method"], wanted["path"], data={"x": "x" * wanted["bytes"]}, headers=told)
    right = wanted["hides"] not in answer.text if wanted["hides"] else answer.status_code == wanted["status"]
    return _must(right, f"{wanted['method']} {wanted['path']} answers {answer.status_code}")


def query(deployment: Deployment, row: Row) -> str:
    """Whether Prometheus has series for the row's expression."""
    found = _prometheus("query", query=row["query"])["result"]
    return _must(bool(found) == row["some"], f"{len(found)} series of {row['query']}")


def _prometheus(path: str, **parameters: str) -> Any:
    url = _given(settings().prometheus_url, "PROMETHEUS_URL is not set")
    return httpx2.get(f"{url}/api/v1/{path}", params=parameters, timeout=10).raise_for_status().json()["data"]


def sql(deployment: Deployment, row: Row) -> str:
    """A statement that says whether all is well, and what was found."""
    needed = settings().processes * (settings().web_threads + SPARE_CONNECTIONS)
    with db.engines["reader"].connect() as connection:
        _given(connection.dialect.name == "postgresql", "SQLite has no such thing")
        well, found = connection.execute(text(row["sql"]), {"needed": needed} if ":needed" in row["sql"] else {}).one()
    return _must(well, found)


def made(deployment: Deployment, row: Row) -> str:
    """How long ago something was done that has to be done every now and then."""
    most = timedelta(days=row["days"]) or timedelta(hours=2 * settings().backup_every_hours + 1)
    age = now() - _given(backup.last(row["made"]), f"there has been no {row['made']} yet")
    return _must(age < most, f"the last {row['made']} was {age.total_seconds() / 3600:.1f} hours ago")


def data_dir(deployment: Deployment, row: Row) -> str:
    with tempfile.TemporaryFile(dir=settings().data_dir):
        usage = shutil.disk_usage(settings().data_dir)
    return _must(usage.free > 0.1 * usage.total, f"{100 * usage.free // usage.total} % of the disk is free")


def database(deployment: Deployment, row: Row) -> str:
    with db.engines["reader"].connect() as connection:
        connection.execute(text("SELECT 1"))
        return f"{connection.dialect.name} {'.'.join(map(str, connection.dialect.server_version_info or ()))}"


def migrations(deployment: Deployment, row: Row) -> str:
    said = current_app.extensions["readiness"]["database"]()
    return _must(said == "ok", said)


def indexes(deployment: Deployment, row: Row) -> str:
    inspector = inspect(db.engines["reader"])
    there = {index["name"] for table in Model.metadata.tables for index in inspector.get_indexes(table)}
    wanted = {str(index.name) for table in Model.metadata.tables.values() for index in table.indexes}
    return _must(wanted <= there, f"missing: {', '.join(sorted(wanted - there)) or 'none'}")


def redis(deployment: Deployment, row: Row) -> str:
    url = _given(settings().redis, "one process keeps it all in memory")
    with Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
        return f"Redis {client.info('server')['redis_version']}"


def telemetry(deployment: Deployment, row: Row) -> str:
    """Whether an export of nothing is taken."""
    token, url = os.environ.get("LOGFIRE_TOKEN", ""), os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    _given(token or url, "neither LOGFIRE_TOKEN nor OTEL_EXPORTER_OTLP_ENDPOINT is set")
    url = f"{url or LOGFIRE.format('eu' if '_eu_' in token else 'us')}/v1/traces"
    told = {"Content-Type": "application/x-protobuf", "Authorization": token}
    return _must(httpx2.post(url, content=b"", headers=told, timeout=10).is_success, f"{url} takes exports")


def headers(deployment: Deployment, row: Row) -> str:
    got, wanted = deployment.site.get("/login").headers, HEADERS
    others = {name: value for name, value in wanted["others"].items() if name != "Strict-Transport-Security"}
    wrong = [name for name, value in others.items() if got.get(name) != value]
    policy = got.get("Content-Security-Policy", "")
    wrong += [name for name in (*wanted["content-security-policy"], "'nonce") if name not in policy]
    return _must(not wrong, f"wrong: {', '.join(wrong) or 'none'}")


def limits(deployment: Deployment, row: Row) -> str:
    """Attempts of this process at an account that nobody has; at the site they would count against its address."""
    client, email = journey.within(deployment.app), f"{secrets.token_hex(8)}@example.com"
    tries = [journey.post(client, "/login", email=email, password="x").status_code for _ in range(12)]  # noqa: S106
    return _must(429 in tries, f"after {tries.index(429) if 429 in tries else 'more than 12'} attempts to sign in")


def certificate(deployment: Deployment, row: Row) -> str:
    found = x509.load_pem_x509_certificate(ssl.get_server_certificate(deployment.host).encode())
    httpx2.get(f"{deployment.url}/livez", timeout=10)  # which raises if it is not trusted
    days = (found.not_valid_after_utc - now()).days
    return _must(days > row["days"], f"valid for {days} days")


def tls(deployment: Deployment, row: Row) -> str:
    """Whether the site speaks what this machine speaks only when told to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is said over it
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection(deployment.host, 10) as plain:
        try:
            context.wrap_socket(plain, server_hostname=deployment.host[0]).close()
        except (ssl.SSLError, ConnectionError):
            return "TLS 1.1 is refused"
    raise OperationError("TLS 1.1 is spoken")


def https_redirect(deployment: Deployment, row: Row) -> str:
    host, port = deployment.host
    answer = httpx2.get(f"http://{host}:{row['ports'].get(str(port), 80)}/login", timeout=10)
    return _must(answer.headers.get("Location", "").startswith("https://"), f"http answers {answer.status_code}")


def proxy_hops(deployment: Deployment, row: Row) -> str:
    """Whether the site knows that it is asked over https, and does not believe an address that a client invents."""
    client = httpx2.Client(base_url=deployment.host and deployment.url, headers={"X-Forwarded-For": FORGED}, timeout=10)
    with journey.someone(deployment.app, client) as (user_id, _), db.engines["reader"].connect() as connection:
        found = text("SELECT address FROM user_sessions WHERE user_id = :id").bindparams(id=user_id)
        believed = connection.scalar(found) == FORGED
    known = "Strict-Transport-Security" in client.get("/login").headers
    return _must(known and not believed, f"https is known: {known}, invented addresses are believed: {believed}")


def backup_repository(deployment: Deployment, row: Row) -> str:
    _must(settings().restic_repository, "RESTIC_REPOSITORY is not set")
    return f"{len(backup.snapshots())} backups" if _given(backup.last(), "there has been no backup yet") else ""


def alert_rules(deployment: Deployment, row: Row) -> str:
    groups = _prometheus("rules", type="alert")["groups"]
    there = {rule["name"] for group in groups for rule in group["rules"] if rule["annotations"].get("runbook")}
    return _must(there >= set(row["alerts"]), f"missing: {', '.join(sorted(set(row['alerts']) - there)) or 'none'}")


def alert_receiver(deployment: Deployment, row: Row) -> str:
    """Send an alert that asks for nothing, and see whether it was delivered."""
    url = _given(settings().alertmanager_url, "ALERTMANAGER_URL is not set")

    def counted(name: str) -> float:
        series = rf"^alertmanager_notification_requests_{name}{{.*}} (\S+)$"
        return sum(map(float, re.findall(series, httpx2.get(f"{url}/metrics", timeout=10).text, re.MULTILINE)))

    sent, failed, deadline = counted("total"), counted("failed_total"), time.monotonic() + row["seconds"]
    alert = {"labels": {"alertname": "ReadyTest", "severity": "none", "id": secrets.token_hex(4)}}
    httpx2.post(f"{url}/api/v2/alerts", json=[alert], timeout=10).raise_for_status()
    while counted("total") == sent and time.monotonic() < deadline:
        time.sleep(0.5)
    time.sleep(0.2)  # a request is counted before its failure is
    delivered = counted("total") > sent and counted("failed_total") == failed
    return _must(delivered, "a test alert was sent" if delivered else "a test alert was not delivered")


def background_jobs(deployment: Deployment, row: Row) -> str:
    said, beat = current_app.extensions["readiness"]["jobs"](), jobs.queue().get("beat", peek=True)
    return _must(beat and "no job has run" not in said, f"{said}; the last beat was at {beat}")


def user_journey(deployment: Deployment, row: Row) -> str:
    journey.travel(deployment.app, deployment.site)
    return "someone signed in, asked, exported and deleted the account"
