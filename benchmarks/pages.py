"""What a page costs, against a bare Flask page with the same HTML."""

from __future__ import annotations

import http.client
from collections.abc import Callable

from harness import HERE, Figure, Lab, Server, alternate, free_port

REQUESTS = 400


def pages(lab: Lab, rounds: int = 7) -> list[Figure]:
    """CPU of the server for one request of the sign-in page and of a chat page with 50 messages."""
    port = free_port()
    command = ["-m", "gunicorn", "--worker-class", "gthread", "--threads", "4", "--bind", f"127.0.0.1:{port}"]
    command += ["--no-control-socket", "bare_flask:app"]
    bare_server = Server([lab.spawn(*command, cwd=HERE / "baselines")], [port])
    with lab.running(bare_server) as bare, lab.app(1, 1, WEB_THREADS="4") as app:
        cookie, _, conversation = app.accounts[0][0]

        def cost(server: Server, url: str, **headers: str) -> Callable[[], float]:
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

        ms = alternate(
            rounds,
            bare_sign_in=cost(bare, "/login"),
            sign_in=cost(app, "/login"),
            bare_chat=cost(bare, "/chat"),
            chat=cost(app, conversation, Cookie=cookie),
        )
    return [
        Figure("sign-in page", ms["sign_in"] / ms["bare_sign_in"], "<= 1.8", rounds, "bare Flask"),
        Figure("chat page with 50 messages", ms["chat"] / ms["bare_chat"], "<= 2.5", rounds, "bare Flask"),
    ]
