"""What only a real server shows: processes that die, streams that cost no thread, connections that break."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from engines import Engine
from huey.storage import SqliteStorage
from live import LiveServer, Remote
from support import Page, wait_until

from app.chat.model.demo import number_word

Serve = Callable[..., LiveServer]


@pytest.fixture
def serve(tmp_path: Path, engine: Engine) -> Iterator[Serve]:
    """Starts servers: one worker on SQLite and memory, two on PostgreSQL and Redis."""
    servers: list[LiveServer] = []
    engine.prepare(tmp_path)

    def start(**environment: str) -> LiveServer:
        servers.append(LiveServer(tmp_path, **(engine.environment | environment)).start())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def words(last: int) -> list[str]:
    return [number_word(number) for number in range(1, last + 1)]


def test_kill_in_mid_answer_leaves_the_question_and_all_but_the_last_second(serve: Serve) -> None:
    server = serve()
    ada = Remote.signed_up(server)
    answer = ada.ask("count to 200")
    page = answer.watch(4)
    server.kill()
    server.start()
    shown = answer.shown()
    assert "count to 200" in shown
    assert ">Regenerate<" in shown
    assert "was interrupted" in shown
    kept = re.sub(r"<[^>]+>", " ", shown.split('class="answer-body"')[1].split("<footer")[0]).split()[1:]
    assert kept == words(len(kept))
    assert len(kept) >= len(page.words) - 11  # about ten words a second
    status, _, _ = ada.post(re.findall(r'action="(/messages/[^"]+/regenerate)"', shown)[0])
    assert status == 201


def test_terminating_in_mid_answer_loses_nothing(serve: Serve) -> None:
    server = serve()
    answer = Remote.signed_up(server).ask("count to 30")
    page = Page()
    for event in answer.follow():  # ends by itself, with the server
        assert page.take(event)
        if len(page.words) == 5:
            server.terminate()
    assert event.kind == "reconnect"
    assert server.process.wait(20) == 0
    server.start()
    for event in answer.follow(page.last):
        assert page.take(event)
    assert page.ending.kind == "done"
    assert page.words == words(30)
    assert "error" not in server.log.lower()


@pytest.mark.parametrize("limit", [{"MAX_REQUESTS_PER_WORKER": "12"}, {"MAX_WORKER_MEMORY_MB": "150"}])
def test_recycling_a_worker_in_mid_answer_loses_nothing(serve: Serve, limit: dict[str, str]) -> None:
    server = serve(**limit)
    ada = Remote.signed_up(server)
    workers = set(children(server.process.pid))
    answer = ada.ask("count to 40")
    page = answer.watch(1)
    while set(children(server.process.pid)) == workers:
        ada.get("/livez")
    while page.ending is None:  # the answer is written by the old worker and asked for at the new one
        for event in answer.follow(page.last):
            assert page.take(event)
        time.sleep(0.3)
    assert page.ending.kind == "done"
    assert page.words == words(40)


def test_ctrl_c_keeps_what_there_is(serve: Serve) -> None:
    server = serve()
    answer = Remote.signed_up(server).ask("count to 200")
    page = answer.watch(2)
    workers = children(server.process.pid)
    started = time.monotonic()
    server.process.send_signal(signal.SIGINT)
    while time.monotonic() < started + 0.1:  # a terminal tells them too, and the master does once more
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(int(worker), signal.SIGINT)
                os.kill(int(worker), signal.SIGQUIT)
    assert server.process.wait(20) == 0
    assert time.monotonic() - started < 10
    server.start()
    shown = answer.shown()
    assert "was interrupted" in shown
    assert page.words[-1] in shown


def test_stop_ends_the_answer_within_a_second(serve: Serve) -> None:
    ada = Remote.signed_up(serve())
    answer = ada.ask("count to 200")
    page = answer.watch(1)
    stopped = time.monotonic()
    assert ada.post(answer.stop)[0] == 202
    for event in answer.follow(page.last):
        assert page.take(event)
    assert time.monotonic() - stopped < 1
    assert page.ending.kind == "stopped"
    assert page.words == words(len(page.words))
    assert "You stopped this answer." in answer.shown()


def test_open_streams_cost_no_threads(serve: Serve) -> None:
    server = serve(WEB_CONCURRENCY="1", WEB_THREADS="4", MAX_STREAMS_PER_USER="100")
    ada = Remote.signed_up(server)
    answer = ada.ask("count to 60")
    streams = [answer.follow() for _ in range(40)]
    firsts = [next(stream) for stream in streams]
    assert len(firsts) == 40
    (worker,) = [int(pid) for pid in children(server.process.pid)]
    assert threads_of(worker) < 30
    assert ada.get("/chat", Accept="text/html")[0] == 200
    for first, stream in zip(firsts, streams, strict=True):
        page = Page()
        for event in (first, *stream):
            assert page.take(event)
        assert page.words == words(60)


def test_a_stream_keeps_session_check_limits_and_headers(serve: Serve) -> None:
    server = serve(MAX_STREAMS_PER_USER="1")
    ada, bob = Remote.signed_up(server), Remote.signed_up(server)
    answer = ada.ask("count to 100")
    assert Remote(server).get(answer.events)[0] == 401
    assert bob.get(answer.events)[0] == 404
    with ada.open("GET", answer.events, Accept="text/html") as stream:
        assert stream.status == 200
        for name in ("Content-Security-Policy", "Cross-Origin-Resource-Policy", "X-Content-Type-Options"):
            assert name in stream.headers
        assert stream.headers["Cache-Control"] == "no-store"
        assert stream.headers["Connection"] == "close"  # else a proxy sends its next request into a closing connection
        with ada.open("GET", answer.events, Accept="text/event-stream") as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (429, "5")

    def is_free() -> bool:
        with ada.open("GET", answer.events, Accept="text/event-stream") as again:
            return again.status == 200

    wait_until(is_free, 5)


def test_a_large_body_that_is_refused_unread_is_taken_all_the_same(serve: Serve) -> None:
    """Else whoever still sends it, or a proxy, finds the connection closed and never reads the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", serve().port, timeout=30)

    def slowly() -> Iterator[bytes]:
        for _ in range(9):
            yield b"x" * 100_000
            time.sleep(0.05)

    form = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "900000"}
    for _ in range(2):  # on one connection
        connection.request("POST", "/login", slowly(), form)
        with connection.getresponse() as refused:
            assert (refused.status, refused.headers["Connection"]) == (413, "keep-alive")
            refused.read()
    connection.close()


def test_a_client_that_never_reads_costs_others_nothing(serve: Serve) -> None:
    server = serve(WEB_THREADS="4")
    ada, bob = Remote.signed_up(server), Remote.signed_up(server)
    answer = ada.ask("count to 2000")
    cookie = "; ".join(f"{name}={value}" for name, value in ada.cookies.items())
    deaf = []
    for _ in range(8):
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.sendall(f"GET {answer.events} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode())
        deaf.append(connection)
    started = time.monotonic()
    assert bob.ask("count to 10").watch(10).words == words(10)
    assert time.monotonic() - started < 5
    for connection in deaf:
        connection.close()


def test_forty_people_ask_their_first_question_at_once(serve: Serve) -> None:
    server = serve()
    people = [Remote.signed_up(server) for _ in range(40)]
    pages: list[Page] = []
    threads = [threading.Thread(target=lambda p=p: pages.append(p.ask("count to 20").watch(60))) for p in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [page.words for page in pages] == [words(20)] * 40
    assert all(page.ending.kind == "done" for page in pages)


def test_the_agent_is_imported_at_the_first_question(serve: Serve) -> None:
    server = serve(WEB_CONCURRENCY="1")
    ada = Remote.signed_up(server)
    ada.get("/chat", Accept="text/html")
    (worker,) = children(server.process.pid)
    before = memory_of(int(worker))
    assert ada.ask("count to 3").watch(20).words == words(3)
    assert memory_of(int(worker)) > before * 1.2


def test_a_bad_setting_stops_the_start_with_its_fix(tmp_path: Path) -> None:
    server = LiveServer(tmp_path, APP_ENV="production", SECRET_KEY="weak")
    with pytest.raises(AssertionError, match=r"SECRET_KEY: .*generate one"):
        server.start()
    assert "Traceback" not in server.log


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def memory_of(pid: int) -> int:
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0])


def test_the_web_process_works_on_jobs_beside_sqlite(serve: Serve) -> None:
    live = serve()

    def checks() -> dict[str, str]:
        return json.loads(Remote(live).get("/readyz")[1])["checks"]

    queue = SqliteStorage("app", filename=str(live.folder / "jobs.db"))
    wait_until(lambda: queue.has_data_for_key("beat"))
    assert checks()["jobs"] == "ok"
    queue.put_data("beat", b'"2026-01-01T00:00:00+00:00"')
    assert "flask jobs" in checks()["jobs"]


def test_a_tool_waits_through_a_kill_and_runs_once_though_two_processes_are_told(serve: Serve) -> None:
    server = serve()
    ada = Remote.signed_up(server)
    for _ in range(2):  # a tool that runs twice deletes both
        list(ada.ask("Twin").follow())
    answer = ada.ask("Delete conversation Twin")
    assert list(answer.follow())[-1].kind == "waiting"
    server.kill()
    tabs = [Remote(serve()), Remote(serve())]
    for tab in tabs:
        tab.cookies = dict(ada.cookies)
    page = tabs[0].get(answer.conversation, Accept="text/html")[1]
    (decision,) = set(re.findall(r'action="(/tool-calls/[^"]+)"', page))
    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(lambda n: tabs[n % 2].post(decision, decision="approve")[0], range(6)))
    assert sorted(told) == [200, 409, 409, 409, 409, 409]
    wait_until(lambda: json.loads(tabs[1].get(answer.status)[1])["status"] == "done", 30)
    with closing(sqlite3.connect(server.folder / "app.db")) as database:
        kept = "SELECT count(*) FROM conversations WHERE title = 'Twin' AND deleted_at IS NULL"
        assert database.execute(kept).fetchone() == (1,)
        assert database.execute("SELECT status, result FROM tool_calls").fetchall() == [("done", "Deleted “Twin”.")]
