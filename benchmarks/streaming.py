"""What an answer costs, and how many fit on this machine, against Pydantic AI with no web at all."""

from __future__ import annotations

import asyncio
import json
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
def alone(lab: Lab) -> Iterator[tuple[Server, Answers]]:
    processes = [lab.spawn(str(HERE / "baselines/agent_alone.py"), **SCRIPT) for _ in range(2)]
    for process in processes:
        process.stdout.readline()

    def answers(count: int) -> list[float]:
        for process in processes:
            process.stdin.write(f"{count // 2} {IDEAL}\n")
            process.stdin.flush()
        return [seconds for process in processes for seconds in json.loads(process.stdout.readline())]

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
def application(lab: Lab, read: str) -> Iterator[tuple[Server, Answers]]:
    threads = "700" if read == "threads" else "16"
    with lab.app(2, PEOPLE, BENCH_READ=read, WEB_THREADS=threads, **SCRIPT) as server:

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


def costs(lab: Lab, rounds: int = 5) -> list[Figure]:
    """CPU of the server processes for an answer."""
    with (
        alone(lab) as bottom,
        bare_async(lab) as bare,
        application(lab, "loop") as loop,
        application(lab, "threads") as old,
    ):

        def measure(pair: tuple[Server, Answers]) -> Callable[[], float]:
            server, answers = pair

            def cost() -> float:
                before = server.cpu()
                answers(AT_ONCE)
                return (server.cpu() - before) / AT_ONCE * 1000

            answers(20)
            return cost

        ms = alternate(
            rounds, alone=measure(bottom), bare_async=measure(bare), loop=measure(loop), threads=measure(old)
        )
    return [
        Figure("answer of 200 tokens: bare async endpoint", ms["bare_async"] / ms["alone"], "<= 99", rounds, "no web"),
        Figure("answer of 200 tokens: read by the loop", ms["loop"] / ms["alone"], "<= 1.5", rounds, "no web"),
        Figure("answer of 200 tokens: read by threads", ms["threads"] / ms["alone"], "<= 99", rounds, "no web"),
    ]


def capacities(lab: Lab) -> list[Figure]:
    """How many answers two processes hold."""
    found = {}
    for name, variant in (
        ("alone", lambda: alone(lab)),
        ("loop", lambda: application(lab, "loop")),
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
