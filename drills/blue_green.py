"""Releases under load: ten that succeed, four that are broken on purpose, and a rollback on the newer schema.

A separate process of people keeps the books (parts/ledger.py). No request of theirs may fail and no event be lost or
come twice, whatever is released; a broken release must leave the old version live and say at which step it failed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import lab
from parts.docker_host import DockerHost
from parts.site import Site, entries, revision_after

# Two cores carry application, database, proxy, provider, the people and each release's own work.
STREAMS = int(os.environ.get("DRILL_STREAMS", "20"))
RATE = float(os.environ.get("DRILL_RATE", "20"))
WORDS, PACE = 40, 0.25  # an answer takes ten seconds
RELEASES = int(os.environ.get("DRILL_RELEASES", "10"))
PACKAGE = "/app/.venv/lib/python*/site-packages/app"
MIGRATION = """
from alembic import op

revision = "{new}"
down_revision = "{old}"
branch_labels = ()
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE messages ADD COLUMN {column} text")


def downgrade() -> None:
    op.execute("ALTER TABLE messages DROP COLUMN {column}")
"""
BROKEN = {
    "crashes at its start": ("gunicorn.conf.py", "raise SystemExit('broken on purpose')\n", "wait until"),
    "is never ready": (
        "wsgi.py",
        "app.extensions['readiness']['drill'] = lambda: 'failed: broken on purpose'\n",
        "wait until",
    ),
    "fails its smoke test": (
        "wsgi.py",
        "app.view_functions['static'] = lambda filename: ('broken on purpose', 500)\n",
        "try",
    ),
}
COLUMNS = "release                                exit  seconds  requests  failed  answers  dropped  lost  twice  live"


class Row(NamedTuple):
    """What happened between the begin and the end of one release."""

    name: str
    status: int
    seconds: float
    requests: int
    failed: int
    answers: int
    dropped: int
    lost: int
    twice: int


class Drill:
    """One site under load, and what was found wrong."""

    def __init__(self, site: Site):
        self.site, self.problems, self.worst = site, list[str](), 0.0
        old, new = revision_after(site.project)
        self.revisions = {"old": old, "new": new, "newer": str(int(new) + 1)}

    def images(self) -> None:
        """Versions 2 to 11 differ in a style sheet, so in the names of files; the last has a migration, too."""
        started = time.monotonic()
        css = next((self.site.project / "src/app/static/css").glob("*.css")).name
        for number in range(2, RELEASES + 2):
            files = {f"{PACKAGE}/static/css/{css}": f"/* version {number} */\n"}
            if number == RELEASES + 1:
                files |= self.migration("old", "new", "drill_note")
            self.site.variant(str(number), "1", files)
        for number, (name, text, _) in enumerate(BROKEN.values()):
            self.site.variant(f"broken-{number}", str(RELEASES + 1), {f"/app/{name}": text})
        late = self.migration("new", "newer", "drill_late")
        self.site.variant("broken-lock", str(RELEASES + 1), late)
        print(
            f"  {RELEASES + len(BROKEN) + 1} images of other versions: {time.monotonic() - started:.0f} s", flush=True
        )

    def migration(self, old: str, new: str, column: str) -> dict[str, str]:
        text = MIGRATION.format(old=self.revisions[old], new=self.revisions[new], column=column)
        return {f"{PACKAGE}/migrations/{self.revisions[new]}_{column}.py": text}

    def load(self) -> None:
        self.people, self.book = self.site.people(STREAMS, RATE, WORDS)
        lab.wait_until(lambda: self.seen("answer") >= STREAMS, 180, f"answers, see {lab.WORK}/ledger.log")

    def seen(self, what: str) -> int:
        return sum(entry["what"] == what for entry in entries(self.book))

    def release(self, name: str, script: str, *arguments: str, **environment: str) -> tuple[Row, str]:
        begun = time.time()
        done = self.site.run(script, *arguments, **environment)
        settled = time.time() + 3
        lab.wait_until(lambda: time.time() > settled)
        during = [entry for entry in entries(self.book) if entry["at"] >= begun]
        told = [entry for entry in during if entry["what"] in ("request", "stream")]
        answers = [entry for entry in during if entry["what"] == "answer"]
        failed = [entry for entry in told if entry["failed"]]
        wrong = [entry for entry in answers if not entry["complete"] or entry["end"] != "done"]
        counted = [sum(entry[count] for entry in answers) for count in ("dropped", "lost", "repeated")]
        counted[1] += len(wrong)
        self.worst = max([self.worst, *(entry["seconds"] for entry in told if entry["what"] == "request")])
        row = Row(name, done.returncode, settled - 3 - begun, len(told), len(failed), len(answers), *counted)
        text = f"{row.name:<38} {row.status:>4} {row.seconds:>8.0f} {row.requests:>9} {row.failed:>7} {row.answers:>8}"
        live = f"{self.site.version_of(self.site.live)} in {self.site.live}"
        print(f"  {text} {row.dropped:>8} {row.lost:>5} {row.twice:>6}  {live}", flush=True)
        if row.failed or row.lost or row.twice:
            self.problems.append(f"{name}: {(failed + wrong)[:3]}")
        return row, done.stdout

    def succeeds(self, name: str, script: str, version: str, *arguments: str) -> None:
        row, said = self.release(name, script, *arguments)
        if row.status or self.site.version_of(self.site.live) != version:
            self.problems.append(f"{name}: exit {row.status}, {said[-1500:]}")

    def fails(self, name: str, version: str, step: str, during: Callable[[], Any] = nullcontext) -> None:
        """The release exits with an error that names the step, and the old version is live, alone."""
        before = self.site.live, self.site.version_of(self.site.live)
        with during():
            row, said = self.release(name, "release", version, READY_SECONDS="90" if step == "try" else "30")
        after = self.site.live, self.site.version_of(self.site.live)
        if not row.status or f"FAILED at: {step}" not in said or before != after:
            self.problems.append(f"{name}: exit {row.status}, {before} before, {after} after, {said[-1500:]}")
        idle = "green" if self.site.live == "blue" else "blue"
        if self.site.compose("ps", "--quiet", "--status", "running", idle).strip():
            self.problems.append(f"{name}: {idle} still runs")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Somebody reads the table that the migration changes, in a transaction that stays open."""
        hold = "BEGIN; LOCK TABLE messages IN ACCESS SHARE MODE; SELECT pg_sleep(600)"
        command = ["docker", "compose", "--file", str(self.site.deploy / "compose.yaml"), "exec", "-T", "postgres"]
        psql = [*command, "psql", "-U", "postgres", "-d", "app"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        holder = subprocess.Popen([*psql, "-c", hold], env=self.site.environment, **quiet)
        try:
            time.sleep(3)
            yield
        finally:
            end = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK TABLE messages%'"
            )
            subprocess.run([*psql, "-Atc", end], env=self.site.environment, stdout=subprocess.DEVNULL)
            holder.wait(30)

    def twice(self) -> None:
        """A second release while one goes on is refused at once."""
        lock = self.site.deploy / "state/lock"
        holder = subprocess.Popen(["flock", str(lock), "sleep", "60"], start_new_session=True)
        time.sleep(0.5)
        done = self.site.run("release", "2")
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait()
        if not done.returncode or "another release" not in done.stdout:
            self.problems.append(f"two releases at once: {done.returncode}, {done.stdout}")

    def audit(self) -> None:
        self.people.terminate()
        self.people.wait(240)
        found = entries(self.book)[-1]
        if found["what"] != "audit":
            raise SystemExit((lab.WORK / "ledger.log").read_text()[-3000:])
        every = [entry for entry in entries(self.book) if entry["what"] == "answer"]
        asked = sum(entry["asked to reconnect"] for entry in every)
        whole = sum(entry["whole"] for entry in every)
        print(f"  {found['questions']} questions: {found['questions lost']} lost, {found['answers lost']} answers lost")
        print(
            f"  streams asked to reconnect: {asked}, sent whole: {whole}; slowest request {self.worst:.1f} s",
            flush=True,
        )
        if found["questions lost"] or found["answers lost"]:
            self.problems.append(f"audit: {found}")
        if not asked:
            self.problems.append("no stream was asked to reconnect: nothing was drained")


def main() -> int:
    with DockerHost() as host:
        site = Site(host)
        print(f"  built in {site.build('1'):.0f} s", flush=True)
        drill = Drill(site)
        drill.images()
        site.set_up(PACE)
        first = site.run("release", "1")
        if first.returncode:
            raise SystemExit(first.stdout)
        print(
            f"  load: {STREAMS} streams of {WORDS} words in {WORDS * PACE:.0f} s, {RATE:.0f} requests a second",
            flush=True,
        )
        drill.load()
        print(f"  {COLUMNS}", flush=True)
        for number in range(2, RELEASES + 2):
            what = ", with a migration" if number == RELEASES + 1 else ""
            drill.succeeds(f"version {number}{what}", "release", str(number), str(number))
        for number, (name, (_, _, step)) in enumerate(BROKEN.items()):
            drill.fails(f"a version that {name}", f"broken-{number}", step)
        drill.fails("a migration that waits for a lock", "broken-lock", "migrate", drill.locked)
        drill.twice()
        drill.succeeds("rollback, on the newer schema", "rollback", str(RELEASES))
        drill.audit()
        column = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'drill_note'"
        if site.compose("exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "app", "-Atc", column).strip() != "1":
            drill.problems.append("the newer schema is not there")
    for problem in drill.problems:
        print(f"  PROBLEM {problem}", flush=True)
    return bool(drill.problems)


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        lab.end_all()
