"""Several processes on one PostgreSQL and one Redis: what one writes the others show, stop and survive."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from engines import Services, running_redis
from fake_provider import FakeProvider
from live import LiveAnswer, LiveServer, Remote, free_port
from support import Page, parse_events, wait_until

from app.chat.model.demo import number_word

Serve = Callable[..., LiveServer]


@pytest.fixture
def serve(tmp_path: Path, services: Services) -> Iterator[Serve]:
    """Starts replicas: each a server with one worker, unless told otherwise."""
    services.prepare(tmp_path)
    with ExitStack() as stack:

        def start(**environment: str) -> LiveServer:
            folder = tmp_path / str(free_port())
            folder.mkdir()
            server = LiveServer(folder, **(services.environment | {"WEB_CONCURRENCY": "1"} | environment)).start()
            stack.callback(server.stop)
            return server

        yield start


def words(last: int) -> list[str]:
    return [number_word(number) for number in range(1, last + 1)]


def at(server: LiveServer, remote: Remote) -> Remote:
    """The same person at another replica."""
    other = Remote(server)
    other.cookies = remote.cookies
    return other


def seen_at(server: LiveServer, answer: LiveAnswer) -> LiveAnswer:
    """The same answer, asked for at another replica."""
    other = object.__new__(LiveAnswer)
    vars(other).update(vars(answer) | {"remote": at(server, answer.remote)})
    return other


def follow_to_the_end(answer: LiveAnswer, page: Page, seconds: float = 60) -> Page:
    """As the page's script does: reconnect until the terminal event, whatever happens on the way."""
    deadline = time.monotonic() + seconds
    while page.ending is None:
        assert time.monotonic() < deadline, page.words
        pause = 0.5
        with answer.remote.open("GET", f"{answer.events}?after={page.last}", Accept="text/event-stream") as response:
            if response.status == 200:
                for event in parse_events(iter(response.read1, b"")):
                    pause = event.data.get("seconds", pause)
                    if not page.take(event):
                        break
            else:
                assert response.status in (429, 503), response.status
        time.sleep(pause if page.ending is None else 0)
    return page


def test_an_answer_is_followed_reloaded_and_stopped_at_another_process(serve: Serve) -> None:
    one, two = serve(), serve()
    ada = Remote.signed_up(one)
    answer = ada.ask("count to 200")
    elsewhere = seen_at(two, answer)
    page = elsewhere.watch(3)
    assert page.words == words(len(page.words))
    assert len(page.words) > 5
    wait_until(lambda: words(5)[-1] in elsewhere.shown())
    stopped = time.monotonic()
    assert at(two, ada).post(answer.stop)[0] == 202
    follow_to_the_end(elsewhere, page)
    assert time.monotonic() - stopped < 3
    assert page.ending.kind == "stopped"
    assert page.words == words(len(page.words))
    assert "You stopped this answer." in answer.shown()


def test_every_stream_of_forty_at_two_processes_shows_every_word_once(serve: Serve) -> None:
    one, two = serve(MAX_STREAMS_PER_USER="100"), serve(MAX_STREAMS_PER_USER="100")
    ada = Remote.signed_up(one)
    answer = ada.ask("count to 40")
    pages: list[Page] = []

    def follow(server: LiveServer) -> None:
        pages.append(follow_to_the_end(seen_at(server, answer), Page()))

    threads = [threading.Thread(target=follow, args=((one, two)[number % 2],)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [page.words for page in pages] == [words(40)] * 40


def test_a_killed_process_leaves_all_but_the_last_second_and_its_followers_are_told(serve: Serve) -> None:
    one, two = serve(), serve()
    answer = Remote.signed_up(one).ask("count to 200")
    elsewhere = seen_at(two, answer)
    page = elsewhere.watch(3)
    seen = len(page.words)
    threading.Timer(0.5, one.kill).start()
    follow_to_the_end(elsewhere, page)
    assert page.ending.kind == "interrupted"
    assert page.words == words(len(page.words))
    assert len(page.words) >= max(1, seen - 12)  # ten words a second
    again = re.findall(r'action="(/messages/[^"]+/regenerate)"', elsewhere.shown())[0]
    assert at(two, answer.remote).post(again)[0] == 201


def test_one_of_two_workers_is_killed_and_the_other_tells(serve: Serve) -> None:
    server = serve(WEB_CONCURRENCY="2")
    ada = Remote.signed_up(server)
    answers = [ada.ask("count to 60") for _ in range(6)]
    pages = [answer.watch(0.5) for answer in answers]
    workers = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    os.kill(int(workers[0]), signal.SIGKILL)
    endings = []
    for answer, page in zip(answers, pages, strict=True):
        follow_to_the_end(answer, page)
        endings.append(page.ending.kind)
        assert page.words == words(len(page.words))
    assert set(endings) <= {"done", "interrupted"}
    assert "Traceback" not in server.log


def test_a_drained_process_finishes_its_answer_for_those_who_follow_elsewhere(serve: Serve) -> None:
    one, two = serve(), serve()
    answer = Remote.signed_up(one).ask("count to 40")
    elsewhere = seen_at(two, answer)
    page = elsewhere.watch(1)
    one.terminate()
    follow_to_the_end(elsewhere, page)
    assert page.ending.kind == "done"
    assert page.words == words(40)
    assert one.process.wait(30) == 0


def test_redis_may_be_flushed_and_restarted_in_mid_answer(serve: Serve) -> None:
    port = free_port()
    with ExitStack() as first:
        url = first.enter_context(running_redis(port))
        one, two = serve(REDIS_URL=url), serve(REDIS_URL=url)
        answer = Remote.signed_up(one).ask("count to 120")
        pages = [Page(), Page()]
        threads = [
            threading.Thread(target=follow_to_the_end, args=(seen_at(server, answer), page))
            for server, page in zip((one, two), pages, strict=True)
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(pages[1].words) > 10)
        import redis

        with redis.Redis.from_url(url) as client:
            client.flushall()
        wait_until(lambda: len(pages[1].words) > 30)
    before = len(pages[1].words)  # Redis is gone
    wait_until(lambda: len(pages[1].words) > before + 10)  # and the answer goes on
    assert Remote(two).get("/readyz")[0] == 200
    assert "degraded" in Remote(two).get("/readyz")[1]
    with running_redis(port):
        for thread in threads:
            thread.join()
        assert [page.words for page in pages] == [words(120)] * 2
        assert {page.ending.kind for page in pages} == {"done"}
        assert seen_at(two, answer).shown().count(number_word(120)) == 1
        assert Remote.signed_up(one).ask("count to 3").watch(20).words == words(3)
    for server in (one, two):
        assert "Traceback" not in server.log


def test_limits_hold_across_processes_and_without_redis(serve: Serve) -> None:
    with running_redis() as url:
        one, two = serve(REDIS_URL=url), serve(REDIS_URL=url)
        ada = Remote.signed_up(one)
        answer = ada.ask("count to 3")
        statuses = [at((one, two)[number % 2], ada).post(answer.stop)[0] for number in range(70)]
    assert 429 in statuses
    assert 55 <= statuses.index(429) <= 65
    without = [at(two, ada).post(answer.stop)[0] for _ in range(70)]
    assert 429 in without
    assert 500 not in without


def test_each_process_keeps_one_pool_of_connections_to_its_provider(serve: Serve) -> None:
    provider = FakeProvider()
    model = {"MODEL": "openai-chat:gpt-4o", "OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": f"{provider.url}/v1"}
    one, two = serve(**model), serve(**model)
    ada = Remote.signed_up(one)
    for number in range(8):
        assert at((one, two)[number % 2], ada).ask("Hello?").watch(20).words == ["Hello."]
    assert len(provider.requests) == 8
    assert provider.connections <= 4  # two, and more only where a slow machine lets one be idle until it is closed
    provider.close()
