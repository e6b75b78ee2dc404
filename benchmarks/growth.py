"""What grows with the conversation, with open streams, with answers given; each as a plot too."""

from __future__ import annotations

import asyncio
import http.client
import statistics
import subprocess
import time
from collections.abc import Callable

import load
from harness import HERE, Figure, Lab, Server, alternate
from plot import plot

LENGTHS = (10, 100, 1000, 5000)
OPEN, SHORT = 1000, {"BENCH_TOKENS": "20", "BENCH_RATE": "200"}
TWO = {"WEB_CONCURRENCY": "2"}  # one site, as it is run; what one worker writes another shows by way of Redis


def get(port: int, url: str, cookie: str) -> float:
    """Seconds until the page is read."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", url, headers={"Accept": "text/html", "Cookie": cookie})
    response = connection.getresponse()
    response.read()
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"{url}: {response.status}")
    return time.perf_counter() - started


def conversations(lab: Lab, rounds: int = 5) -> list[Figure]:
    """CPU of opening a conversation, and of asking in it, by its length in messages."""
    with lab.app(1, 1, BENCH_LENGTHS=",".join(map(str, LENGTHS)), BENCH_LIMITS="off", **SHORT) as app:
        cookie, csrf, addresses = app.accounts[0][0]
        by_length = dict(zip(LENGTHS, addresses.split(), strict=True))

        def opening(address: str) -> Callable[[], float]:
            def measure() -> float:
                before = app.cpu()
                for _ in range(20):
                    get(app.ports[0], address, cookie)
                return (app.cpu() - before) / 20 * 1000

            measure()
            return measure

        def asking(address: str) -> Callable[[], float]:
            def measure() -> float:
                before = app.cpu()
                for _ in range(10):
                    asyncio.run(load.ask_app(app.ports[0], cookie, csrf, f"{address}/messages"))
                return (app.cpu() - before) / 10 * 1000

            measure()
            return measure

        opened = alternate(rounds, **{str(n): opening(by_length[n]) for n in LENGTHS})
        asked = alternate(rounds, **{str(n): asking(by_length[n]) for n in LENGTHS})
    plot(
        "conversation", "messages in the conversation", "CPU, ms",
        {"open": {n: opened[str(n)] for n in LENGTHS}, "ask": {n: asked[str(n)] for n in LENGTHS}},
    )  # fmt: skip
    return [
        Figure(f"{what} a conversation of {n} messages", ms[str(n)] / ms["100"], "<= 1.25", rounds, "100 messages")
        for what, ms in (("open", opened), ("ask in", asked))
        for n in (1000, 5000)
    ]


def waiting(lab: Lab) -> list[Figure]:
    """Pages while 1,000 streams wait for a slow model, on two workers."""
    slow = {"BENCH_TOKENS": "3", "BENCH_RATE": "0.02"}
    settings = {"MAX_STREAMS": "2000", "MAX_STREAMS_PER_USER": "100", "MAX_RUNS": "5000"}
    with lab.redis() as url, lab.app(1, OPEN, REDIS_URL=url, **TWO, **slow, **settings) as app:
        cookie = app.accounts[0][0][0]

        def p99() -> float:
            times = sorted(get(app.ports[0], "/chat", cookie) for _ in range(300))
            return times[int(len(times) * 0.99) - 1]

        p99()
        none = statistics.median(p99() for _ in range(3))

        async def with_streams() -> tuple[float, float]:
            waited = []
            for start in range(0, OPEN, 20):
                batch = [account[:2] for account in app.accounts[0][start : start + 20]]
                waited += await asyncio.gather(*(load.wait_app(app.ports[0], *account) for account in batch))
            some = statistics.median([await asyncio.to_thread(p99) for _ in range(3)])
            pss = app.pss()
            for writer in waited:
                writer.close()
            return some, pss

        some, pss = asyncio.run(with_streams())
    return [
        Figure(f"page p99 while {OPEN} streams wait", some / none, "<= 2", 3, "no stream open"),
        Figure(f"memory of 2 workers with {OPEN} open streams, MB", pss, "<= 400", 1, "nothing"),
    ]


def memory(lab: Lab) -> list[Figure]:
    """Memory of two workers before the first answer, after 1,000 and while 1,000 more arrive."""
    with lab.redis() as url, lab.app(1, 100, BENCH_MODEL="own", REDIS_URL=url, **TWO) as app:
        for _ in range(20):  # so that both have shown a page
            get(app.ports[0], "/login", "")
        before = app.pss()
        seen = {0: before}
        for hundred in range(1, 21):
            asyncio.run(_hundred(app))
            seen[hundred * 100] = app.pss()
            print(f"  {hundred * 100} answers: {seen[hundred * 100]:.0f} MB", flush=True)
    plot("memory", "answers given", "PSS of 2 workers, MB", {"memory": seen})
    return [
        Figure("memory of 2 workers before the first answer, MB", before, "<= 200", 1, "nothing"),
        Figure("memory of 2 workers after 1,000 answers, MB", seen[1000], "<= 300", 1, "nothing"),
        Figure("memory after 2,000 answers", seen[2000] / seen[1000], "<= 1.05", 1, "after 1,000"),
    ]


async def _hundred(app: Server) -> None:
    """A hundred short answers of the demo model, which is imported at the first question like any other."""
    asked = (load.ask_app(app.ports[0], *account[:2], text="count to 3") for account in app.accounts[0])
    await asyncio.gather(*asked)


def cap(lab: Lab) -> list[Figure]:
    """One stream more than the cap is refused at once, and the others keep their pace."""
    limit = 100
    settings = {"MAX_STREAMS": str(limit), "MAX_STREAMS_PER_USER": "8", "BENCH_TOKENS": "200", "BENCH_RATE": "20"}
    with lab.app(1, limit + 1, **settings) as app:
        port, accounts = app.ports[0], app.accounts[0]

        async def drive() -> tuple[float, float]:
            await load.ask_app(port, *accounts[limit][:2])
            opened = [asyncio.Event() for _ in range(limit)]
            others = [
                asyncio.create_task(load.ask_app(port, *account[:2], opened=event))
                for account, event in zip(accounts, opened, strict=False)
            ]
            address = await load.post_question(port, *accounts[limit][:2])
            await asyncio.gather(*(event.wait() for event in opened))
            started = time.perf_counter()
            status, headers = await load.refused(port, accounts[limit][0], address)
            took = time.perf_counter() - started
            if status != 503 or "retry-after" not in headers:
                raise RuntimeError(f"one stream too many was answered with {status}")
            answers = await asyncio.gather(*others)
            return took * 1000, max(answer.total for answer in answers) / 10

        took, pace = asyncio.run(drive())
    return [
        Figure("open-stream cap + 1: refused after, ms", took, "<= 100", 1, "nothing"),
        Figure("open-stream cap + 1: slowest of the others", pace, "<= 1.5", 1, "the ideal 10 s"),
    ]


def starting(lab: Lab, rounds: int = 5) -> list[Figure]:
    """CPU of starting, with bytecode, against importing four libraries."""

    def cost(*command: str, **environment: str) -> Callable[[], float]:
        def measure() -> float:
            before = _children()
            subprocess.run(
                [lab.python, *command],
                env=lab.environment(**lab.settings(folder), **environment),
                cwd=lab.project, check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            return _children() - before

        measure()
        return measure

    folder = HERE.parent / ".bench/start"
    folder.mkdir(exist_ok=True)
    page = "import wsgi; c = wsgi.app.test_client(); assert c.get('/login').status_code == 200"
    seconds = alternate(
        rounds,
        libraries=cost("-c", "import flask, sqlalchemy, logfire, pydantic_ai"),
        page=cost("-c", page),
        upgrade=cost("-m", "flask", "db", "upgrade"),
        ready=cost("-c", "import sys, subprocess; sys.exit(subprocess.call(['flask', 'ready', '--stage', 'pre']) > 1)"),
    )
    named = {"page": "start: process to first page", "upgrade": "start: flask db upgrade",
             "ready": "start: flask ready --stage pre"}  # fmt: skip
    return [
        Figure(title, seconds[name] / seconds["libraries"], "<= 0.8", rounds, "importing four libraries")
        for name, title in named.items()
    ]


def _children() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
