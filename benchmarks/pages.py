"""What a page costs: against a bare Flask page with the same HTML, and seen against unseen."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness import HERE, Figure, Lab, Server, alternate, free_port

REQUESTS = 400
THREADS = {"WEB_THREADS": "4"}
UNSEEN = THREADS | {"OTEL_SDK_DISABLED": "true"}


def cost(server: Server, url: str, **headers: str) -> Callable[[], float]:
    """CPU of *server* for one request of *url*, ms."""

    def measure(count: int = REQUESTS) -> float:
        connection = http.client.HTTPConnection("127.0.0.1", server.ports[0])
        before = server.cpu()
        for _ in range(count):
            connection.request("GET", url, headers={"Accept": "text/html"} | headers)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise RuntimeError(f"{url}: {response.status}")
        used = server.cpu() - before
        connection.close()
        return used / count * 1000

    measure(50)
    return measure


def chat_cost(server: Server) -> Callable[[], float]:
    """Of a chat page with 50 messages."""
    cookie, _, conversation = server.accounts[0][0]
    return cost(server, conversation, Cookie=cookie)


@contextmanager
def exporting(lab: Lab) -> Iterator[dict[str, str]]:
    """The settings that send every trace and metric to a receiver, whose own cost is not counted."""
    port = free_port()
    sink = Server([lab.spawn(str(HERE.parent / "drills/otlp_sink.py"), str(port))], [port])
    with lab.running(sink):
        yield {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_METRIC_EXPORT_INTERVAL": "15000"}


def pages(lab: Lab, rounds: int = 7) -> list[Figure]:
    """The sign-in page with OpenTelemetry off, and a chat page with everything exported."""
    port = free_port()
    command = ["-m", "gunicorn", "--worker-class", "gthread", "--threads", "4", "--bind", f"127.0.0.1:{port}"]
    command += ["--no-control-socket", "bare_flask:app"]
    bare_server = Server([lab.spawn(*command, cwd=HERE / "baselines")], [port])
    with (
        exporting(lab) as exported,
        lab.running(bare_server) as bare,
        lab.app(1, 1, **UNSEEN) as off,
        lab.app(1, 1, **THREADS, **exported) as on,
    ):
        ms = alternate(
            rounds,
            bare_sign_in=cost(bare, "/login"),
            sign_in=cost(off, "/login"),
            bare_chat=cost(bare, "/chat"),
            chat=chat_cost(on),
        )
    return [
        Figure("sign-in page", ms["sign_in"] / ms["bare_sign_in"], "<= 1.8", rounds, "bare Flask"),
        Figure(
            "chat page with 50 messages, all exported", ms["chat"] / ms["bare_chat"], "<= 2.5", rounds, "bare Flask"
        ),
    ]


def observability(lab: Lab, rounds: int = 5) -> list[Figure]:
    """A chat page with everything exported, against the same with OpenTelemetry off."""
    with (
        exporting(lab) as exported,
        lab.app(1, 1, **UNSEEN) as off,
        lab.app(1, 1, **THREADS, **exported) as on,
    ):
        ms = alternate(rounds, off=chat_cost(off), on=chat_cost(on))
    return [Figure("chat page, all exported", ms["on"] / ms["off"], "<= 1.6", rounds, "OpenTelemetry off")]
