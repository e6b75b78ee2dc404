"""What a release asks a colour, and a health check the worker, in its own container.

``check.py ready``: it wants traffic. ``smoke``: it serves pages and files. ``site``: the same through the proxy.
``jobs``: one has run lately; there is one a minute.
"""

import http.client
import json
import os
import re
import socket
import ssl
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

SECRETS = Path("/run/secrets")
SILENT_AFTER = timedelta(minutes=5)
HOST = os.environ["TRUSTED_HOSTS"].split(",")[0]
FORWARDED = {"Host": HOST, "X-Forwarded-Proto": "https", "X-Forwarded-Host": HOST, "X-Forwarded-For": "127.0.0.1"}


def get(path: str, through_proxy: bool) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT", "8000")), timeout=15)
    if through_proxy:
        # Whether the certificate is trusted is for `flask ready --url` to say, from outside.
        context = ssl._create_unverified_context()  # noqa: S323
        connection.sock = context.wrap_socket(socket.create_connection(("caddy", 443), 15), server_hostname=HOST)
    connection.request("GET", path, headers={"Host": HOST} if through_proxy else FORWARDED)
    answer = connection.getresponse()
    body = answer.read().decode("utf-8", "replace")
    connection.close()
    return answer.status, body


def must(path: str, through_proxy: bool = False, shows: str = "") -> str:
    status, body = get(path, through_proxy)
    if status != 200 or shows not in body:
        sys.exit(f"GET {path} answers {status}: {body[:300] if status != 200 else f'without {shows}'}")
    return body


def jobs() -> None:
    if os.environ.get("JOBS_URL") or (SECRETS / "jobs_url").exists():
        return  # they wait elsewhere than in the database; /readyz and an alert tell when none runs
    import psycopg

    with psycopg.connect((SECRETS / "database_url").read_text().strip(), connect_timeout=5) as connection:
        row = connection.execute("SELECT value FROM huey_kv WHERE queue = 'app' AND key = 'beat'").fetchone()
    if not row or datetime.now(UTC) - datetime.fromisoformat(json.loads(row[0])) > SILENT_AFTER:
        sys.exit(f"no job has run for {SILENT_AFTER}; the last beat: {row}")


def main(what: str) -> None:
    if what == "ready":
        must("/readyz")
        return
    if what == "jobs":
        jobs()
        return
    must("/livez", what == "site")
    page = must("/login", what == "site", shows="<form")
    for path in re.findall(r'(?:href|src)="(/static/[^"]+)"', page):
        must(path, what == "site")


if __name__ == "__main__":
    main(sys.argv[1])
