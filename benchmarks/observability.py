"""What it costs to see: a chat page with every trace and metric exported, against the same with OpenTelemetry off."""

from __future__ import annotations

import http.client
from collections.abc import Callable

from harness import HERE, Figure, Lab, Server, alternate, free_port

REQUESTS = 400


def observability(lab: Lab, rounds: int = 5) -> list[Figure]:
    """CPU of the server for one request of a chat page with 50 messages; the receiver's own is not counted."""
    port = free_port()
    sink = Server([lab.spawn(str(HERE.parent / "drills/otlp_sink.py"), str(port))], [port])
    exported = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_METRIC_EXPORT_INTERVAL": "15000"}
    with (
        lab.running(sink),
        lab.app(1, 1, WEB_THREADS="4", OTEL_SDK_DISABLED="true") as off,
        lab.app(1, 1, WEB_THREADS="4", **exported) as on,
    ):

        def cost(server: Server) -> Callable[[], float]:
            cookie, _, conversation = server.accounts[0][0]

            def measure(count: int = REQUESTS) -> float:
                connection = http.client.HTTPConnection("127.0.0.1", server.ports[0])
                before = server.cpu()
                for _ in range(count):
                    connection.request("GET", conversation, headers={"Accept": "text/html", "Cookie": cookie})
                    response = connection.getresponse()
                    response.read()
                    if response.status != 200:
                        raise RuntimeError(f"{conversation}: {response.status}")
                used = server.cpu() - before
                connection.close()
                return used / count * 1000

            measure(50)
            return measure

        ms = alternate(rounds, off=cost(off), on=cost(on))
    return [Figure("chat page, all exported", ms["on"] / ms["off"], "<= 1.6", rounds, "OpenTelemetry off")]
