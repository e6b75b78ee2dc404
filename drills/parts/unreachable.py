"""With nothing configured: no warning and no connection. With a receiver of telemetry that refuses, or takes what comes
and never answers: no request fails, and none takes 5 ms longer.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from live import ROOT, LiveServer, Remote, free_port
from served import finish, table

ROUNDS, REQUESTS, MOST_MS = 7, 120, 5


def serve(application: str = "wsgi:app", **settings: str) -> LiveServer:
    folder = Path(tempfile.mkdtemp(prefix="drill-"))
    server = LiveServer(folder, application, PYTHONPATH=str(Path(__file__).parent), **settings)
    command = [sys.executable, "-m", "flask", "--app", str(ROOT / "wsgi.py"), "db", "upgrade"]
    subprocess.run(command, cwd=folder, env=server.environment, check=True, capture_output=True)
    return server.start()


def quiet() -> list[str]:
    """What the log warns of, and where the application connects to, from its start to its end."""
    server = serve("quiet:app")
    person = Remote.signed_up(server)
    *_, last = person.ask("count to 12").follow()
    assert last.kind == "done"
    server.terminate()
    server.process.wait(60)
    notes = server.folder / "connects"
    connects = notes.read_text().splitlines() if notes.exists() else []
    loud = [line for line in server.log.splitlines() if re.search(r"warn|error|Traceback", line, re.IGNORECASE)]
    table(("nothing configured: connections, warnings", f"{len(connects)}, {len(loud)}"))
    return [f"connects: {line}" for line in connects[:5]] + [f"says: {line[:300]}" for line in loud[:5]]


def deaf() -> int:
    """The port of a server that takes connections and never says anything."""
    server, held = socket.create_server(("127.0.0.1", 0), backlog=500), []

    def take() -> None:
        while True:
            held.append(server.accept()[0])

    threading.Thread(target=take, daemon=True).start()
    return int(server.getsockname()[1])


def ask(server: LiveServer) -> list[float]:
    """Milliseconds of pages; each has to be answered with 200."""
    connection, spent = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30), []
    for _ in range(REQUESTS):
        started = time.perf_counter()
        connection.request("GET", "/login", headers={"Accept": "text/html"})
        response = connection.getresponse()
        response.read()
        spent.append((time.perf_counter() - started) * 1000)
        if response.status != 200:
            raise SystemExit(f"/login: {response.status}")
    connection.close()
    return spent


def unreachable() -> list[str]:
    ends = {"nothing configured": "", "refuses": str(free_port()), "never answers": str(deaf())}
    told = {"OTEL_BSP_SCHEDULE_DELAY": "500", "OTEL_METRIC_EXPORT_INTERVAL": "1000"}
    servers = {
        name: serve(**({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"} | told if port else {}))
        for name, port in ends.items()
    }
    spent: dict[str, list[float]] = {name: [] for name in ends}
    for server in servers.values():
        ask(server)
    for _ in range(ROUNDS):
        for name, server in servers.items():
            spent[name] += ask(server)
    for server in servers.values():
        server.stop()
        shutil.rmtree(server.folder)
    figures = {name: (statistics.median(ms), statistics.quantiles(ms, n=100)[98]) for name, ms in spent.items()}
    table(
        ("receiver", f"of {ROUNDS * REQUESTS} requests the median, ms", "p99"),
        *((name, f"{median:.2f}", f"{p99:.2f}") for name, (median, p99) in figures.items()),
    )
    base = figures["nothing configured"]
    return [
        f"{name}: {kind} {value - before:+.1f} ms"
        for name, both in figures.items()
        for kind, value, before in zip(("median", "p99"), both, base, strict=True)
        if value - before > MOST_MS
    ]


if __name__ == "__main__":
    os.environ.pop("LOGFIRE_TOKEN", None)
    finish(quiet() + unreachable())
