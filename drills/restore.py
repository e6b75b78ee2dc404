"""Backups of both engines into both kinds of repository: restored, interrupted, damaged, refused, made under load."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lab

sys.path.insert(0, str(lab.HERE / "parts"))
import restoring as parts
import write_load

GROWTH, FILES = 5_000, 40
KILLED_AFTER = (0.01, 0.05, 0.2, 0.5, 1.0)  # seconds; then in the middle of what restic does
MOTO = "moto[server]>=5.2,<6"
COLUMNS = f"{'engine':<11}{'repository':<12}{'case':<42}{'seconds':>8}  result"
problems: list[str] = []


class Site:
    """One engine with its files, and one repository."""

    def __init__(self, engine: parts.Engine, data: Path, repository: parts.Repository, commands: parts.Commands):
        self.engine, self.data, self.repository, self.commands = engine, data, repository, commands
        self.environment = {
            "APP_ENV": "development", "SECRET_KEY": "for-one-drill-0123456789-abcdefghijklmn", "DATA_DIR": str(data),
            "DATABASE_URL": engine.url, "RESTIC_PASSWORD": "for one drill, too", "HOME": str(lab.WORK),
            "PATH": os.environ["PATH"],
        } | repository.environment  # fmt: skip

    def case(self, name: str, check: Callable[[], str]) -> None:
        """A row of the table; *check* returns what is wrong, or after "ok" what is worth knowing."""
        started = time.monotonic()
        result = check() or "ok"
        if not result.startswith("ok"):
            problems.append(f"{self.engine.name}, {self.repository.name}, {name}: {result}")
        where = f"{self.engine.name:<11}{self.repository.name:<12}"
        print(f"{where}{name:<42}{time.monotonic() - started:>8.1f}  {result}", flush=True)

    def backup(self, *arguments: str, **environment: str) -> tuple[int, str]:
        return self.begin(*arguments, **environment).wait()

    def begin(self, *arguments: str, **environment: str) -> parts.Command:
        return parts.Command(self.commands, ("backup", *arguments), self.environment | environment)

    def create(self) -> str:
        status, said = self.backup("create")
        if status:
            raise SystemExit(f"no backup: {said}")
        return said.split()[-1]

    def state(self) -> tuple[parts.State, parts.State]:
        return self.engine.rows(), parts.files(self.data)

    def wipe(self) -> None:
        self.engine.wipe()
        for path in self.data.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def change(self) -> None:
        self.engine.ask(f"UPDATE conversations SET title = '{uuid.uuid4()}' WHERE id = '{self.any_id()}'")
        (self.data / "pictures/0.bin").write_bytes(random.randbytes(70_000))

    def any_id(self) -> str:
        return str(self.engine.ask("SELECT min(CAST(id AS text)) FROM conversations")[0][0])

    def restored(self, snapshot: str, wanted: tuple[parts.State, parts.State]) -> str:
        status, said = self.backup("restore", snapshot, "--yes")
        if status:
            return f"not restored: {said[-600:]}"
        for before, after, what in zip(wanted, self.state(), ("rows", "files"), strict=True):
            if wrong := sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)):
                return f"{what} differ: {wrong[:5]}"
        return ""


def failed(done: tuple[int, str]) -> str:
    return f"exit {done[0]}: {done[1][-700:]}" if done[0] else f"ok: {done[1].strip().splitlines()[-1]}"


def sentence(done: tuple[int, str], words: str) -> str:
    """What is wrong with how a command failed: one line, with these words, no traceback."""
    status, said = done
    line = said.strip()
    if status == 0 or "\n" in line or not line.startswith("Error: ") or len(line) > 330 or not re.search(words, line):
        return f"exit {status}: {line[-700:]}"
    return f"ok: {line.removeprefix('Error: ')}"


def plain(site: Site) -> None:
    def whole() -> str:
        before = site.state()
        snapshot = site.create()
        site.wipe()
        return (
            site.restored("latest", before)
            or f"ok: {snapshot}, {len(before[0])} hashes of rows, {len(before[1])} of files"
        )

    site.case("made, all wiped, restored", whole)
    site.case("restored over data without --yes", lambda: sentence(site.backup("restore"), "--yes"))
    site.case("drill: a scratch copy is used", lambda: failed(site.backup("drill")))
    site.case("verified", lambda: failed(site.backup("verify")))


def interrupted(site: Site) -> None:
    moments = {f"killed after {seconds * 1000:.0f} ms": (seconds, "") for seconds in KILLED_AFTER}
    if isinstance(site.repository, parts.S3):
        moments = dict(list(moments.items())[1::2])
    for what, verb in (("saves", "backup"), ("forgets", "forget")):
        moments |= {f"killed while restic {what}": (0.1, f"restic --no-cache {verb}")}
    before = site.state()
    kept = [site.create()]

    def lives(moment: tuple[float, str]) -> str:
        site.change()
        command = site.begin("create")
        command.kill_after(*moment, lambda: site.repository.names("locks"))
        status = command.wait()[0]
        checked = failed(site.backup("verify")).removeprefix("ok: every backup can be read")
        wrong = site.restored(kept[0], before) or checked
        if status == 0:  # it was faster; it may have let go of the one before
            kept[0] = site.create()
        return wrong or f"ok: {'killed' if status == -9 else f'it was done before, exit {status}'}"

    for name, moment in moments.items():
        site.case(name, lambda moment=moment: lives(moment))
    site.case("the next one after all that", lambda: site.restored(site.create(), before))


def damaged(site: Site) -> None:
    def flip() -> None:
        content = bytearray(site.repository.read(pack))
        content[len(content) // 2] ^= 0xFF
        site.repository.write(pack, bytes(content))

    def detected(hurt: Callable[[], None], name: str) -> str:
        content = site.repository.read(name)
        hurt()
        found = sentence(site.backup("verify"), "damaged|corrupt|errors|missing|not found|does not")
        site.repository.write(name, content)
        return found

    pack = max(site.repository.names("data"), key=lambda name: len(site.repository.read(name)))
    index = max(site.repository.names("index"), key=lambda name: len(site.repository.read(name)))
    site.case("a byte of a pack flipped", lambda: detected(flip, pack))
    site.case("a pack deleted", lambda: detected(lambda: site.repository.remove(pack), pack))
    site.case("an index deleted", lambda: detected(lambda: site.repository.remove(index), index))
    site.case("all put back", lambda: failed(site.backup("verify")))


def refused(site: Site) -> None:
    for command in ("create", "verify", "restore --yes"):
        wrong = site.begin(*command.split(), RESTIC_PASSWORD="another one, which is wrong")
        site.case(f"wrong password: {command}", lambda wrong=wrong: sentence(wrong.wait(), "RESTIC_PASSWORD"))
    nothing = {"PATH": str(lab.WORK / "nothing")}
    site.case("restic is missing", lambda: sentence(site.backup("create", **nothing), "restic is not installed"))
    if isinstance(site.engine, parts.PostgreSQL):
        (lab.WORK / "restic").mkdir(exist_ok=True)
        (lab.WORK / "restic/restic").unlink(missing_ok=True)
        (lab.WORK / "restic/restic").symlink_to(str(shutil.which("restic")))
        alone = {"PATH": str(lab.WORK / "restic")}
        site.case("pg_dump is missing", lambda: sentence(site.backup("create", **alone), "pg_dump is not installed"))


def full(site: Site) -> None:
    before, snapshot = site.state(), site.create()
    disks = {"DATA_DIR": site.data}
    if isinstance(site.repository, parts.Folder):
        disks["repository"] = site.repository.folder.parent

    def refuses(disk: Path, left: int) -> str:
        (site.data / "pictures/new.bin").write_bytes(random.randbytes(3_000_000))
        undo = lab.fill(disk)
        os.truncate(disk / "filler", (disk / "filler").stat().st_size - left)
        found = sentence(site.backup("create"), "disk|space")
        undo()
        (site.data / "pictures/new.bin").unlink()
        return found

    for name, disk in disks.items():
        for left in (0, 1_500_000):
            site.case(f"{name} full, {left / 1e6:.1f} MB left", lambda disk=disk, left=left: refuses(disk, left))
    site.case("verified after that", lambda: failed(site.backup("verify")))
    site.case("the one before restored", lambda: site.restored(snapshot, before))


def under_load(engine: parts.Engine, sites: list[Site], app: lab.App, only: list[str]) -> None:
    """Backups while people and writers change everything, then each is restored."""
    load = write_load.Load(engine, app.port)
    write_load.grow(engine, GROWTH)
    if only and "under_load" not in only:
        sites = []
    load.start()
    made = []
    for site in sites:
        enough = min(load.written) + 30
        lab.wait_until(lambda enough=enough: min(load.written) >= enough, 120, "writers")
        begun, started = load.seen(), time.monotonic()
        made.append((site, site.create(), begun, load.seen(), time.monotonic() - started))
    load.end()
    app.server.terminate()
    app.server.wait(60)
    for site, snapshot, begun, ended, seconds in made:

        def holds(site: Site = site, snapshot: str = snapshot, begun: Any = begun, ended: Any = ended) -> str:
            schema = site.engine.rows()["(schema)"]
            site.wipe()
            status, said = site.backup("restore", snapshot, "--yes")
            if status or schema != site.engine.rows()["(schema)"]:
                return f"not restored as it was: {said[-600:]}"
            return write_load.wrong(engine, begun, ended)

        site.case(f"made in {seconds:.1f} s under load, restored", holds)


def rehearse(engine: parts.Engine, data: Path, project: Path, s3: int, only: list[str]) -> None:
    commands = parts.Commands(project, lab.WORK / f"{engine.name}-said")
    (data / "pictures").mkdir()
    for n in range(FILES):
        (data / f"pictures/{n}.bin").write_bytes(random.randbytes(70_000))
    folder = lab.small_disk(f"{engine.name}-repository", 512) / "backups"
    repositories = [parts.Folder(folder), parts.S3(s3, engine.name.lower())]
    app = lab.App(project, data, workers=1, jobs=False, DATABASE_URL=engine.url)
    sites = [Site(engine, data, each, commands) for each in repositories]
    under_load(engine, sites, app, only)
    for site in sites:
        if not site.repository.names("snapshots"):
            site.create()
        for part in (plain, interrupted, damaged, refused, full):
            if not only or part.__name__ in only:
                part(site)
    commands.close()


def moto() -> int:
    """The port of an S3 server."""
    port, kept = (
        lab.free_port(),
        {name: value for name, value in os.environ.items() if name.startswith(("UV_", "SSL_"))},
    )
    command = [shutil.which("uv") or "uv", "tool", "run", "--python", sys.executable, "--from", MOTO, "moto_server"]
    lab.spawn(*command, "-H", "127.0.0.1", "-p", str(port), log="moto.log", **kept)
    lab.wait_until(lambda: lab.listens(port), 180, f"moto, see {lab.WORK}/moto.log")
    return port


def main() -> None:
    project, s3, postgres = lab.project(), moto(), lab.Postgres()
    data = [lab.small_disk(f"{name}-data", 256) for name in ("SQLite", "PostgreSQL")]
    engines = [parts.SQLite(data[0]), parts.PostgreSQL(postgres)]
    print(COLUMNS, flush=True)
    try:
        with ThreadPoolExecutor() as both:
            work = [both.submit(rehearse, *each, project, s3, sys.argv[1:]) for each in zip(engines, data, strict=True)]
            for done in work:
                done.result()
    finally:
        postgres.stop("immediate")
    print("\n".join([f"{len(problems)} problems", *problems]), flush=True)
    if problems:
        raise SystemExit(1)


if __name__ == "__main__":
    try:
        main()
    finally:
        lab.end_all()
        for folder in lab.WORK.glob("*-*"):
            subprocess.run(["umount", "-l", str(folder)], check=False, stderr=subprocess.DEVNULL)
