"""What an answer costs, and how many fit on this machine, against Pydantic AI with no web at all."""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import load
from harness import HERE, Figure, Lab, Server, alternate, free_port

TOKENS, RATE = 200, 20
IDEAL = TOKENS / RATE
SCRIPT = {"BENCH_TOKENS": str(TOKENS), "BENCH_RATE": str(RATE)}
AT_ONCE = 150
PEOPLE = 600
LATE = 1.1  # of the ideal duration is still on time
Answers = Callable[[int], list[float]]


@contextmanager
def alone(lab: Lab, which: int = 0, **environment: str) -> Iterator[tuple[Server, Answers]]:
    """Pydantic AI with no web: the seconds to the end of each answer, or with *which* = 1 to its first word."""
    processes = [lab.spawn(str(HERE / "baselines/agent_alone.py"), **(SCRIPT | environment)) for _ in range(2)]
    for process in processes:
        process.stdout.readline()

    def answers(count: int) -> list[float]:
        for process in processes:
            process.stdin.write(f"{count // 2} {IDEAL}\n")
            process.stdin.flush()
        return [seconds[which] for process in processes for seconds in json.loads(process.stdout.readline())]

    server = Server(processes)
    with lab.running(server):
        yield server, answers


@contextmanager
def bare_async(lab: Lab) -> Iterator[tuple[Server, Answers]]:
    ports = [free_port(), free_port()]
    server = Server([lab.spawn(str(HERE / "baselines/bare_async.py"), str(port), **SCRIPT) for port in ports], ports)
    with lab.running(server):
        yield server, lambda count: drive([load.ask_bare(ports[number % 2]) for number in range(count)])


@contextmanager
def application(lab: Lab, read: str = "loop", **settings: str) -> Iterator[tuple[Server, Answers]]:
    threads = "700" if read == "threads" else "16"
    with lab.app(2, PEOPLE, BENCH_READ=read, WEB_THREADS=threads, **(SCRIPT | settings)) as server:

        def answers(count: int) -> list[float]:
            jobs = []
            for number in range(count):
                cookie, csrf, _ = server.accounts[number % 2][number // 2 % PEOPLE]
                jobs.append(load.ask_app(server.ports[number % 2], cookie, csrf))
            return drive(jobs)

        yield server, answers


def drive(jobs: list[Coroutine[Any, Any, load.Answer]]) -> list[float]:
    """Start the jobs evenly over the time that one takes, so that all are under way at its end."""

    async def one(job: Coroutine[Any, Any, load.Answer], delay: float) -> float:
        await asyncio.sleep(delay)
        answer = await job
        if answer.words != TOKENS:
            raise RuntimeError(f"{answer.words} of {TOKENS} words")
        return answer.total

    async def every() -> list[float]:
        return await asyncio.gather(*(one(job, IDEAL * number / len(jobs)) for number, job in enumerate(jobs)))

    return asyncio.run(every())


def capacity(name: str, answers: Answers) -> int:
    """The largest number of answers at once of which 99 in 100 are on time, to about 5 %."""
    low, high = 0, 0
    step = 160
    while True:
        count = step if not low else (round(low * 1.3) if not high else (low + high) // 2)
        if high and high - low <= max(10, low * 0.06):
            return low
        count -= count % 2
        totals = sorted(answers(count))
        slow = totals[int(len(totals) * 0.99) - 1]
        on_time = slow <= LATE * IDEAL
        print(f"  {name}: {count} at once, 99 % within {slow / IDEAL:.2f} of the ideal", flush=True)
        if on_time:
            low = count
        else:
            high = count
            if not low:
                step //= 2


def cost(pair: tuple[Server, Answers], count: int = AT_ONCE) -> Callable[[], float]:
    """CPU of the server processes for one of *count* answers, ms."""
    server, answers = pair

    def measure() -> float:
        before = server.cpu()
        answers(count)
        return (server.cpu() - before) / count * 1000

    answers(20)
    return measure


def costs(lab: Lab, rounds: int = 5) -> list[Figure]:
    """CPU of the server processes for an answer of the scripted model."""
    with (
        lab.redis() as url,
        alone(lab) as bottom,
        bare_async(lab) as bare,
        application(lab) as loop,
        application(lab, "threads") as old,
        application(lab, REDIS_URL=url) as shared,
    ):
        ms = alternate(
            rounds, alone=cost(bottom), bare_async=cost(bare), loop=cost(loop), threads=cost(old), redis=cost(shared)
        )
    goals = {
        "bare async endpoint": ("bare_async", "<= 99"),
        "read by the loop": ("loop", "<= 1.5"),
        "read by threads": ("threads", "<= 99"),
        "over Redis": ("redis", "<= 1.8"),
    }
    return [
        Figure(f"answer of 200 tokens: {title}", ms[name] / ms["alone"], goal, rounds, "no web")
        for title, (name, goal) in goals.items()
    ]


def provider(lab: Lab, rounds: int = 5) -> list[Figure]:
    """CPU for an answer, 50 at once, through the real OpenAI client; the provider's own is not counted."""
    port = free_port()
    speaking = Server([lab.spawn(str(HERE / "baselines/provider.py"), str(port), **SCRIPT)], [port])
    url = f"http://127.0.0.1:{port}/v1"
    own = {"MODEL": "openai-chat:scripted", "OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none", "BENCH_MODEL": "own"}
    with lab.running(speaking), alone(lab, BENCH_PROVIDER=url) as bottom, application(lab, **own) as app:
        ms = alternate(rounds, alone=cost(bottom, 50), app=cost(app, 50))
    title = "answer of 200 tokens through the OpenAI client"
    return [Figure(title, ms["app"] / ms["alone"], "<= 1.25", rounds, "no web, same client")]


def first_word(lab: Lab, rounds: int = 15) -> list[Figure]:
    """How much later than with no web the first word arrives, nothing else being asked."""
    short = {"BENCH_TOKENS": "2"}
    with alone(lab, which=1, **short) as (_, answers), application(lab, **short) as (server, _):

        def without() -> float:
            return statistics.median(answers(2)) * 1000

        def asked() -> float:
            cookie, csrf, _ = server.accounts[0][0]
            return asyncio.run(load.first_word(server.ports[0], cookie, csrf)) * 1000

        without(), asked()
        ms = alternate(rounds, alone=without, app=asked)
    return [Figure("first word later by, ms", ms["app"] - ms["alone"], "<= 15", rounds, "no web")]


def capacities(lab: Lab) -> list[Figure]:
    """How many answers two processes hold."""
    found = {}
    for name, variant in (
        ("alone", lambda: alone(lab)),
        ("loop", lambda: application(lab)),
        ("threads", lambda: application(lab, "threads")),
    ):
        with variant() as (_, answers):
            answers(20)
            found[name] = capacity(name, answers)
    return [
        Figure("capacity: read by the loop", found["loop"] / found["alone"], ">= 0.7", 1, f"no web: {found['alone']}"),
        Figure(
            "capacity: read by threads", found["threads"] / found["alone"], ">= 0.7", 1, f"no web: {found['alone']}"
        ),
    ]
