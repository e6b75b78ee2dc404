"""A PostgreSQL with 10,000 users and a million messages of the last 90 days: what pages cost it, that no statement
reads a large table from end to end, and a clean-up of 200,000 rows while people read.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import engines
import psycopg
from filling import BUSY, fill
from live import ROOT, LiveServer
from served import finish, table
from support import Visitor

MOST_MS, MOST_ADMIN_MS, MOST_RISE, MOST_WAIT_MS = 50, 300, 0.25, 500
LARGE = ("messages", "runs", "conversations", "message_search")
RATE, SECONDS = 12, 40  # pages a second, of the load beside the clean-up


@contextmanager
def observed(app: Any) -> Iterator[list[tuple[float, str, Any]]]:
    """Statements that are executed meanwhile: milliseconds until their rows were there, text, parameters."""
    from sqlalchemy import event

    from app.database import db

    seen: list[tuple[float, str, Any]] = []

    def before(connection: Any, *_: Any) -> None:
        connection.info["began"] = time.perf_counter()

    def after(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append(((time.perf_counter() - connection.info["began"]) * 1000, statement, parameters))

    with app.app_context():
        listened = list({engine.pool: engine for engine in db.engines.values()}.values())
    for engine in listened:
        event.listen(engine, "before_cursor_execute", before)
        event.listen(engine, "after_cursor_execute", after)
    yield seen
    for engine in listened:
        event.remove(engine, "before_cursor_execute", before)
        event.remove(engine, "after_cursor_execute", after)


def whole_reads(database: psycopg.Connection, statements: list[tuple[float, str, Any]]) -> list[str]:
    """Which large tables statements would read from end to end, by EXPLAIN."""
    found = []
    for _, statement, parameters in statements:
        if not statement.lstrip().upper().startswith(("SELECT", "WITH", "DELETE", "UPDATE")):
            continue
        plan = "\n".join(row[0] for row in database.execute(f"EXPLAIN {statement}", parameters).fetchall())
        found += [f"{name}: {statement[:300]}" for name in re.findall(r"Seq Scan on (\w+)", plan) if name in LARGE]
    return found


def pages(app: Any, database: psycopg.Connection) -> list[str]:
    """Median milliseconds that each page keeps the database busy, over nine openings."""
    from app import cache

    visitor = Visitor(app)
    visitor.user_id = BUSY
    visitor.sign_in_as(visitor)
    long = database.execute("SELECT id FROM conversations WHERE title = 'The long one'").fetchone()[0]
    urls = {
        "list of 1,000 conversations": "/chat",
        "conversation of 500 messages": f"/chat/{long}",
        "search, a frequent word": "/chat/search?q=bread",
        "search, a rare word": "/chat/search?q=needle",
        "search, three words": "/chat/search?q=bread+water+salt",
        "export of 500 messages": f"/chat/{long}/export",
    }
    rows, problems = [("page", "statements", "database, ms", "at most")], []
    urls["  the messages above those"] = re.findall(
        r'href="(/chat/[^"]+/earlier/[^"]+)"', visitor.get(f"/chat/{long}").text
    )[0]
    for name, url in urls.items():
        spent: list[float] = []
        for _ in range(9):
            with app.app_context():
                cache.delete(f"conversations:{BUSY}")
            with observed(app) as seen:
                response = visitor.get(url)
            assert response.status_code == 200, (url, response.status_code)
            spent.append(sum(ms for ms, _, _ in seen))
        rows.append((name, len(seen), f"{statistics.median(spent):.1f}", MOST_MS))
        problems += [f"{name}: {statistics.median(spent):.1f} ms"] if statistics.median(spent) > MOST_MS else []
        problems += [f"{name} reads all of {what}" for what in whole_reads(database, seen)]
    table(*rows)
    return problems


def admin(app: Any, database: psycopg.Connection) -> list[str]:
    """Counting 90 days, and the page that shows them."""
    from app.admin import activity

    started = time.monotonic()
    with app.app_context():
        activity.roll_up()
    counted = time.monotonic() - started
    database.execute("UPDATE users SET is_admin = true WHERE id = %s", [BUSY])
    visitor = Visitor(app)
    visitor.user_id = BUSY
    visitor.sign_in_as(visitor)
    spent = []
    for _ in range(9):
        started = time.perf_counter()
        page = visitor.get("/admin/activity").text
        spent.append((time.perf_counter() - started) * 1000)
    shown = re.search(r"Answers</h2>\s*<p class=\"fine\">([\d,]+) in 90 days", page)
    told = database.execute("SELECT sum(answers) FROM daily_activity").fetchone()[0]
    Path(os.environ.get("ADMIN_PAGE", os.devnull)).write_text(page)
    table(
        ("counting 90 days for the first time", f"{counted:.1f} s"),
        ("activity page, whole request", f"{statistics.median(spent):.0f} ms, at most {MOST_ADMIN_MS}"),
        ("answers shown, and counted", f"{shown and shown[1]}, {told:,}"),
    )
    problems = [] if statistics.median(spent) <= MOST_ADMIN_MS else ["the activity page is slow"]
    return problems + ([] if told > 400_000 else [f"only {told} answers are counted"])


def reading(server: LiveServer, cookie: str, address: str, seconds: float) -> list[float]:
    """Milliseconds of pages asked for at an even pace, each by a connection of its own, from a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("reading.py")), server.url, cookie, address]
    done = subprocess.run([*command, str(RATE), str(seconds)], capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


def longest_wait(url: str, stop: threading.Event, found: list[float]) -> None:
    """Watch for statements that wait for a lock."""
    query = "SELECT extract(epoch FROM max(clock_timestamp() - w.waitstart)) FROM pg_locks w WHERE NOT w.granted"
    with psycopg.connect(url, autocommit=True) as connection:
        while not stop.wait(0.02):
            found.append(float(connection.execute(query).fetchone()[0] or 0) * 1000)


def clean_up(app: Any, url: str, settings: dict[str, str], database: psycopg.Connection) -> list[str]:
    """200,000 rows go while people read."""
    old = "now() AT TIME ZONE 'utc' - interval '400 days'"
    talks = "SELECT id FROM conversations WHERE title LIKE 'Talk%' ORDER BY id LIMIT 3000"
    others = "SELECT r.id FROM runs r JOIN conversations c ON c.id = r.conversation_id WHERE c.deleted_at IS NULL"
    database.execute(f"UPDATE conversations SET deleted_at = {old} WHERE id IN ({talks})")
    database.execute(f"UPDATE runs SET finished_at = {old} WHERE id IN ({others} ORDER BY r.id DESC LIMIT 110000)")
    database.execute("VACUUM ANALYZE")
    count = (
        "SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM runs) + (SELECT count(*) FROM conversations)"
    )
    before = database.execute(count).fetchone()[0]
    folder = Path(tempfile.mkdtemp(prefix="drill-"))
    server = LiveServer(folder, "wsgi:app", **settings).start()
    visitor = Visitor(app)
    visitor.user_id, app.secret_key = BUSY, settings["SECRET_KEY"]
    visitor.sign_in_as(visitor)
    cookie = f"session={visitor.client.get_cookie('session').value}"
    long = database.execute("SELECT id FROM conversations WHERE title = 'The long one'").fetchone()[0]
    address = f"/chat/{long}"
    try:
        reading(server, cookie, address, 5)  # warm
        # As in the meantime: in pieces of five seconds, whose beginnings cost a little.
        calm = [took for _ in range(SECONDS // 5) for took in reading(server, cookie, address, 5)]
        command = [sys.executable, "-m", "flask", "--app", str(ROOT / "wsgi.py"), "cleanup"]
        environment = server.environment | {"KEEP_RUNS_DAYS": "365"}
        waits: list[float] = [0.0]
        stop = threading.Event()
        watcher = threading.Thread(target=longest_wait, args=(url, stop, waits))
        watcher.start()
        started = time.monotonic()
        cleaning = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        busy: list[float] = []
        while cleaning.poll() is None:
            busy += reading(server, cookie, address, 5)
        took = time.monotonic() - started
        stop.set()
        watcher.join()
        calm += [took for _ in range(SECONDS // 5) for took in reading(server, cookie, address, 5)]
    finally:
        server.stop()
    gone = before - database.execute(count).fetchone()[0]
    rise = p99(busy) / p99(calm) - 1
    table(
        ("rows that went (messages, runs, conversations)", f"{gone:,} in {took:.0f} s"),
        ("pages read before and after, and meanwhile", f"{len(calm)}, {len(busy)} at {RATE} a second"),
        ("median", f"{statistics.median(calm):.1f} ms, {statistics.median(busy):.1f} ms"),
        ("p99", f"{p99(calm):.1f} ms, {p99(busy):.1f} ms: {rise:+.0%}, at most {MOST_RISE:+.0%}"),
        ("longest wait for a lock", f"{max(waits):.0f} ms, at most {MOST_WAIT_MS}"),
    )
    print("  " + (cleaning.stdout.read() if cleaning.stdout else "").replace("\n", "\n  "))
    problems = [] if gone >= 200_000 else [f"only {gone:,} rows went"]
    problems += [] if rise <= MOST_RISE else [f"p99 rose by {rise:.0%}"]
    return problems + ([] if max(waits) <= MOST_WAIT_MS else [f"a lock was waited for {max(waits):.0f} ms"])


def main() -> None:
    with engines.running_services() as (url, redis_url):
        folder = Path(tempfile.mkdtemp(prefix="drill-"))
        settings = {
            "APP_ENV": "development",
            "SECRET_KEY": "for-one-drill-0123456789-abcdefghijklmn",
            "DATA_DIR": str(folder),
            "DATABASE_URL": url,
            "REDIS_URL": redis_url,
            "MODEL": "demo",
        }
        os.environ.update(settings)
        os.chdir(folder)
        from app import create_app

        app = create_app()
        with app.app_context():
            app.extensions["alembic"].upgrade()
        database = psycopg.connect(url, autocommit=True)
        database.execute("SET synchronous_commit = off")
        started = time.monotonic()
        fill(database)
        table(("filled", f"{time.monotonic() - started:.0f} s"), *counted(database))
        steps: dict[str, Callable[[], list[str]]] = {
            "pages": lambda: pages(app, database),
            "admin": lambda: admin(app, database),
            "clean-up": lambda: clean_up(app, url, settings, database),
        }
        problems = [problem for name in sys.argv[1:] or steps for problem in steps[name]()]
        finish(problems)


def counted(database: psycopg.Connection) -> list[tuple[str, str]]:
    names = ("users", "conversations", "messages", "runs")
    return [(n, f"{database.execute(f'SELECT count(*) FROM {n}').fetchone()[0]:,}") for n in names]


if __name__ == "__main__":
    main()
