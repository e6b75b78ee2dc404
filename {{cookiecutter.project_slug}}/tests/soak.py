"""Thousands of good and bad answers at once, and a ledger of what became of each.

``python tests/soak.py --answers 2000 --at-once 30 --seed 1`` serves the application
with two workers, PostgreSQL and Redis. This process is the client: it has the provider,
asks as several users, follows each answer, and at the end compares every conversation's
page and every row of the database with what the table of shapes wants. Its exit status
is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from approving import forms
from engines import running_services
from fake_provider import Body, FakeProvider, Step, conversation_of, say, status
from live import ROOT, LiveServer, Remote
from outside import assert_storable, seen_on
from shapes import CHAT, Script, Shape
from soak_cases import ORDINARY, ROWS, Approval, is_bad, marked, ordinary, question
from soak_ledger import Entry, Problems, check_database, check_page
from support import Page, parse_events

TALKERS_PER_USER = 3
TURNS = 10  # questions of one conversation, and one more if the last answer is bad
ORDINARY_SHARE = 0.15  # of what is drawn; besides, each bad answer is followed by one
MOST_SECONDS = 300  # for one answer; endless ones are slow on a busy machine
TENTHS = 10
WARM_UP = 3  # tenths until heaps and caches have their size
MOST_GROWTH = 1.15
MOST_GROWTH_MB = 30
# The collector finds a stream of a provider's SDK in one thread while another closes it.
COLLECTED = "ValueError: async generator already executing"
LONG = 1000  # answers from which on memory is judged
TITLES: tuple[Script, ...] = (
    (say("A few words"),),
    (say("A few \ud83d words\x00"),),
    (say("<think>", "A few words?", "</think>", "Few words"),),
    (say("One line\nand another"),),
    (status(500),),
)
SETTINGS = {
    "WEB_CONCURRENCY": "2",
    "MODEL": CHAT,
    "OPENAI_API_KEY": "none",
    "ANTHROPIC_API_KEY": "none",
    "MODEL_RETRIES": "0",
    "RUN_TIMEOUT_SECONDS": "240",
    "MAX_ANSWER_CHARS": "60000",
    "USER_TOKENS_PER_DAY": "0",
    "USER_DOLLARS_PER_DAY": "0",
    "MALLOC_ARENA_MAX": "2",  # as in the Dockerfile
}


@dataclass(frozen=True)
class Plan:
    """How much is asked. ``silence`` is how many seconds a model may say nothing."""

    answers: int
    at_once: int
    seed: int
    silence: int = 15


@dataclass(frozen=True)
class Turn:
    """One question and the shape of its answer."""

    number: int
    row: int
    shape: Shape
    begins_conversation: bool

    @property
    def question(self) -> str:
        return question(self.number, self.row, self.shape.model)


class Deck:
    """All shapes in random order, again and again, with ordinary answers between."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._rows: list[int] = []
        self._number = 0

    def draw(self, is_ordinary: bool, begins_conversation: bool) -> Turn:
        self._number += 1
        if is_ordinary or self._chance.random() < ORDINARY_SHARE:
            shape = ordinary(self._number)
            return Turn(self._number, ORDINARY, shape, begins_conversation)
        if not self._rows:
            self._rows = list(range(len(ROWS)))
            self._chance.shuffle(self._rows)
        row = self._rows.pop()
        return Turn(self._number, row, ROWS[row], begins_conversation)


def deal(plan: Plan) -> list[list[Turn]]:
    """The questions of each talker. After a bad answer comes an ordinary one."""
    deck = Deck(plan.seed)
    talks: list[list[Turn]] = []
    for talker in range(plan.at_once):
        turns: list[Turn] = []
        in_conversation = 0
        is_after_bad = False
        for _ in range(talker, plan.answers, plan.at_once):
            begins = not turns or (in_conversation >= TURNS and not is_after_bad)
            in_conversation = 1 if begins else in_conversation + 1
            turns.append(deck.draw(is_after_bad, begins))
            is_after_bad = is_bad(turns[-1].shape)
        talks.append(turns)
    return talks


class Answers:
    """What the provider answers to each question, whoever asks at the same time."""

    def __init__(self, provider: FakeProvider, turns: Sequence[Turn]) -> None:
        self._provider = provider
        self._rounds = {turn.number: deque(turn.shape.rounds) for turn in turns}
        self.problems: list[str] = []
        provider.responder = self

    def __call__(self, body: Body) -> Sequence[Step]:
        self._provider.requests.clear()
        told = [one for one in conversation_of(body) if one.by == "user"]
        found = [mark for one in told if (mark := marked(one.text))]
        if not found:
            self.problems.append(f"a request without a question: {told}")
            return (say("What?"),)
        try:
            assert_storable(body)
        except AssertionError as error:
            self.problems.append(f"the request of {found[-1]}: {error}")
        if not body.get("tools"):
            return TITLES[found[-1].number % len(TITLES)]
        rounds = self._rounds[found[-1].number]
        return rounds.popleft() if len(rounds) > 1 else rounds[0]


class Memory:
    """The memory of each worker, once for each tenth of the answers."""

    def __init__(self, server: LiveServer, answers: int) -> None:
        self.samples: list[dict[int, float]] = []
        self._server = server
        self._every = max(1, answers // TENTHS)
        self._done = 0
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def count_answer(self) -> None:
        with self._lock:
            self._done += 1
            if self._done % self._every == 0:
                self.samples.append(self.measure())
                sizes = ", ".join(f"{size:.0f}" for size in self.samples[-1].values())
                seconds = time.monotonic() - self._began
                report(f"  {self._done:>5} answers, {seconds:4.0f} s, {sizes} MB")

    def measure(self) -> dict[int, float]:
        """Megabytes of each worker, shared pages by their share."""
        assert self._server.process is not None
        parent = self._server.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        return {int(worker): _megabytes(int(worker)) for worker in children.split()}

    def problems(self) -> list[str]:
        """Workers that were replaced, or that grew after the warm-up."""
        first = self.samples[WARM_UP - 1]
        last = self.samples[-3:]
        if any(sample.keys() != first.keys() for sample in last):
            return [f"workers were replaced: {self.samples}"]
        return [
            f"worker {worker}: {before:.0f} MB became {after:.0f}"
            for worker, before in first.items()
            if (after := max(sample[worker] for sample in last)) > before * MOST_GROWTH + MOST_GROWTH_MB
        ]


def _megabytes(process: int) -> float:
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    found = re.search(r"^Pss: +(\d+)", text, re.MULTILINE)
    assert found
    return int(found[1]) / 1024


class Talker:
    """Asks one question after the other and follows each answer to its end."""

    def __init__(self, remote: Remote, memory: Memory) -> None:
        self._remote = remote
        self._memory = memory
        self.entries: list[Entry] = []
        self.problems = Problems()

    def talk(self, turns: Sequence[Turn]) -> None:
        conversation = ""
        for turn in turns:
            key = str(uuid.uuid4())
            entry = Entry(turn.number, turn.shape, turn.question, key)
            with self.problems.of(entry, "asking"):
                target = "" if turn.begins_conversation else conversation
                self._ask(entry, target)
                conversation = entry.conversation
            self._memory.count_answer()

    def _ask(self, entry: Entry, conversation: str) -> None:
        url = f"{conversation}/messages" if conversation else "/chat"
        began = time.monotonic()
        form = {"text": entry.text, "client_key": entry.client_key}
        code, _, body = self._remote.post(url, **form)
        assert code == 201, f"{code} {body[:300]}"
        answer = json.loads(body)
        markup = answer["messages"]
        entry.conversation = answer["url"]
        regenerate = re.search(r'data-regenerate="/messages/([\w-]+)/', markup)
        assert regenerate
        entry.answer_id = UUID(regenerate[1])
        self.entries.append(entry)
        events = re.search(r'data-events="([^"]+)"', markup)
        assert events, "the answer had ended before it was followed"
        page = Page()
        self._follow(events[1], page, began)
        if isinstance(entry.shape, Approval):
            self._decide(page, entry.shape.decision)
            self._follow(events[1], page, began)
        assert page.ending is not None
        entry.ending = page.ending.kind
        entry.footer = page.ending.data["footer"]
        entry.shown = seen_on(page)
        entry.seconds = time.monotonic() - began

    def _follow(self, events: str, page: Page, began: float) -> None:
        """As the page's script does: ask again until the answer has ended."""
        page.ending = None
        while page.ending is None:
            assert time.monotonic() < began + MOST_SECONDS, "it did not end"
            pause = 0.3
            url = f"{events}?after={page.last}"
            with self._remote.open("GET", url, Accept="text/event-stream") as response:
                assert response.status in (200, 429, 503), response.status
                if response.status == 200:
                    for event in parse_events(iter(response.read1, b"")):
                        pause = event.data.get("seconds", pause)
                        if not page.take(event):
                            break
            if page.ending is None:
                time.sleep(pause)

    def load(self, conversation: str) -> str:
        """The page of a conversation, as it is now."""
        code, page = self._remote.get(conversation, Accept="text/html")
        return page if code == 200 else f"status {code}"

    def _decide(self, page: Page, decision: str) -> None:
        assert page.ending is not None
        assert page.ending.kind == "waiting", page.ending
        (form,) = forms(page.ending.data["footer"])
        code, _, body = self._remote.post(form.url, decision=decision)
        assert code == 200, f"{code} {body[:300]}"


def report(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def soak(plan: Plan, folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Ask everything and compare; prints figures and returns what is wrong."""
    provider = FakeProvider()
    paths = (str(ROOT / "tests"), *filter(None, sys.path))
    settings = SETTINGS | dict(environment)
    settings |= {"FIRST_TOKEN_SECONDS": str(plan.silence)}
    settings |= {"BETWEEN_TOKENS_SECONDS": str(plan.silence)}
    settings |= {"OPENAI_BASE_URL": f"{provider.url}/v1"}
    settings |= {"ANTHROPIC_BASE_URL": provider.url, "PYTHONPATH": ":".join(paths)}
    server = LiveServer(folder, "soak_app:app", **settings)
    command = [sys.executable, "-m", "flask", "--app", str(ROOT / "wsgi.py")]
    subprocess.run([*command, "db", "upgrade"], cwd=folder, env=server.environment, check=True)
    try:
        server.start()
        return _asked(plan, server, provider)
    finally:
        server.stop()
        provider.close()


def _asked(plan: Plan, server: LiveServer, provider: FakeProvider) -> list[str]:
    report(f"seed {plan.seed}: {plan.answers} answers, {plan.at_once} at once")
    talks = deal(plan)
    answers = Answers(provider, [turn for turns in talks for turn in turns])
    memory = Memory(server, plan.answers)
    users = -(-plan.at_once // TALKERS_PER_USER)
    people = [Remote.signed_up(server) for _ in range(users)]
    talkers = [Talker(people[each % users], memory) for each in range(plan.at_once)]
    with ThreadPoolExecutor(plan.at_once) as pool:
        list(pool.map(Talker.talk, talkers, talks))
    problems = Problems(answers.problems)
    for talker in talkers:
        problems += talker.problems
    entries = [entry for talker in talkers for entry in talker.entries]
    bad = _compare(server, talkers, entries, problems)
    problems += errors_logged(server.log)
    if plan.answers >= LONG:
        problems += memory.problems()
    _print_summary(plan, entries, bad, memory, problems)
    return problems


def errors_logged(log: str) -> list[str]:
    """Errors that the server has logged: what a provider does is none of its own."""
    lines = re.findall(r"^(?:ERROR|CRITICAL):.*", log, re.MULTILINE)
    causes = re.findall(r"^[\w.]+(?:Error|Detected|Exception): .*", log, re.MULTILINE)
    found = [line for line in [*lines, *causes] if line != COLLECTED]
    return [f"logged: {line[:300]}" for line in found]


def _compare(
    server: LiveServer,
    talkers: Sequence[Talker],
    entries: Sequence[Entry],
    problems: Problems,
) -> int:
    """Compare pages and rows with the ledger; returns how many answers ended badly."""
    pages: dict[str, str] = {}
    for talker in talkers:
        for entry in talker.entries:
            if entry.conversation not in pages:
                pages[entry.conversation] = talker.load(entry.conversation)
            check_page(entry, pages[entry.conversation], problems)
    url = server.environment["DATABASE_URL"]
    runs = check_database(url, entries, pages, problems)
    return sum(run.error is not None for run in runs.values())


def _print_summary(
    plan: Plan,
    entries: Sequence[Entry],
    bad: int,
    memory: Memory,
    problems: Sequence[str],
) -> None:
    shapes = {(entry.shape.name, entry.shape.model) for entry in entries}
    slowest = max(entries, key=lambda entry: entry.seconds)
    before = memory.samples[WARM_UP - 1]
    after = memory.measure()
    sizes = [f"{before.get(worker, 0):.0f} -> {size:.0f} MB" for worker, size in after.items()]
    for problem in problems[:50]:
        report(f"  PROBLEM {problem}")
    report(
        f"seed {plan.seed}: {len(entries)} answers of {len(shapes)} shapes"
        f" ({len(entries) - bad} good, {bad} bad),"
        f" slowest {slowest.seconds:.1f} s ({slowest}),"
        f" memory {', '.join(sizes)}, {len(problems)} problems"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    given = parser.parse_args()
    plan = Plan(given.answers, given.at_once, given.seed)
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        running_services() as (database_url, redis_url),
    ):
        environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
        problems = soak(plan, Path(folder), environment)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
