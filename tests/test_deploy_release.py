"""Releases, rollbacks and restores on one host: what is done in which order, and what is left when a step fails."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

APP = "chat-assistant"
# Notes what it is asked and who is live, remembers tags and the schema, and fails at what FAILS names.
DOCKER = """#!/usr/bin/env bash
echo "$(cat "$STATE/live" 2>/dev/null || echo nothing): ${*//$'\\n'/ }" >>"$FAKE/calls"
[[ -t 0 ]] || cat >/dev/null
[[ $FAILS && $* == *"$FAILS"* ]] && { echo "broken on purpose"; exit 1; }
case $* in
  "image ls "*) cat "$FAKE/tags/${!#}" 2>/dev/null || true ;;
  "image inspect "*) [[ -e $FAKE/tags/$3 ]] ;;
  "pull "*) exit 1 ;;
  "tag "*) cat "$FAKE/tags/$2" 2>/dev/null >"$FAKE/tag" || echo "$2" >"$FAKE/tag"; mv "$FAKE/tag" "$FAKE/tags/$3" ;;
  "rmi "*) rm "$FAKE/tags/$2" ;;
  *to_regclass*) [[ ! -e $FAKE/schema ]] || echo t ;;
  *"db upgrade"*) touch "$FAKE/schema" ;;
esac
"""


class Host:
    """A rendered project that is set up, on a host whose docker is a stand-in that takes notes."""

    def __init__(self, project: Path):
        self.deploy, self.fake = project / "deploy", project / "fake"
        self.live = self.deploy / "state/live"
        self.environment = os.environ | {
            "PATH": f"{self.fake}{os.pathsep}{os.environ['PATH']}",
            "FAKE": str(self.fake),
            "STATE": str(self.live.parent),
            "FAILS": "",
            "READY_SECONDS": "0",
        }

    def set_up(self) -> str:
        command = [str(self.deploy / "setup"), "chat.example.net"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def run(self, script: str, *arguments: str, fails: str = "", **environment: str) -> tuple[int, str]:
        """Exit status and what was said."""
        (self.fake / "calls").unlink(missing_ok=True)
        done = subprocess.run(
            [str(self.deploy / script), *arguments],
            env=self.environment | environment | {"FAILS": fails},
            check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout

    @property
    def calls(self) -> list[str]:
        """What docker was asked, each with the colour that was live."""
        return (self.fake / "calls").read_text("utf-8").splitlines() if (self.fake / "calls").exists() else []

    def place(self, words: str) -> int:
        """Where in the calls these words come first."""
        return next(number for number, call in enumerate(self.calls) if words in call)

    @property
    def tags(self) -> dict[str, str]:
        return {path.name: path.read_text("utf-8").strip() for path in (self.fake / "tags").iterdir()}


@pytest.fixture(scope="module")
def empty(default_render: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that is set up on an empty host; not to be changed."""
    folder = tmp_path_factory.mktemp("empty")
    shutil.copytree(default_render / "deploy", folder / "deploy")
    shutil.copy(default_render / ".env.example", folder)
    host = Host(folder)
    host.set_up()
    (host.fake / "tags").mkdir(parents=True)
    (host.fake / "docker").write_text(DOCKER, "utf-8")
    (host.fake / "docker").chmod(0o755)
    for version in ("1", "2", "3"):
        (host.fake / f"tags/{APP}:{version}").write_text(f"sha256:{version}\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def released(empty: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 was released, then version 2: green is live; not to be changed."""
    host = Host(shutil.copytree(empty, tmp_path_factory.mktemp("released") / "project"))
    for version in ("1", "2"):
        status, said = host.run("release", version)
        assert status == 0, said
    assert host.live.read_text() == "green"
    return host.deploy.parent


@pytest.fixture
def host(empty: Path, tmp_path: Path) -> Host:
    return Host(shutil.copytree(empty, tmp_path / "project"))


@pytest.fixture
def serving(released: Path, tmp_path: Path) -> Host:
    return Host(shutil.copytree(released, tmp_path / "project"))


# ---- releases

# What fails, the step that is named, and what the colour that was to be had got to.
STAGES = [
    ("from app.config", "check 3", "untouched"),
    ("--wait --no-recreate", "start PostgreSQL", "untouched"),
    ("psql --quiet --username postgres --dbname app", "start PostgreSQL", "untouched"),
    ("flask backup create", "back up", "untouched"),
    ("flask db upgrade", "migrate", "untouched"),
    ("--force-recreate blue", "start blue", "started"),
    ("python - ready", "wait until blue is ready", "started"),
    ("flask ready --stage deploy", "ask the checklist", "started"),
    ("python - smoke", "try blue", "started"),
    ("python - site", "switch from green to blue", "started"),
    ("--no-deps worker", "replace the worker", "started"),
    ("flask jobs dead", "replace the worker", "started"),
]


@pytest.mark.parametrize(("fails", "step", "blue"), STAGES, ids=[step[0] for step in STAGES])
def test_a_step_that_fails_leaves_the_old_colour_serving(serving: Host, fails: str, step: str, blue: str) -> None:
    before = serving.tags
    status, said = serving.run("release", "3", fails=fails)
    assert status != 0
    assert f"FAILED at: {step}" in said
    assert "What to do: " in said
    assert serving.live.read_text() == "green"
    assert serving.tags == before, "the colour that is not live goes back to what it was"
    assert not any(re.search(r"(stop|rm .*) green$", call) for call in serving.calls)
    assert any("rm --stop --force blue" in call for call in serving.calls) == (blue == "started")


def test_the_steps_of_a_release_come_in_their_order(serving: Host) -> None:
    status, said = serving.run("release", "3")
    assert status == 0, said
    steps = ["from app.config", "flask backup create", "flask db upgrade", "--force-recreate blue", "python - ready"]
    steps += ["flask ready --stage deploy", "python - smoke", "python - site", "--no-deps worker", "stop green"]
    places = [serving.place(step) for step in steps]
    assert places == sorted(places)
    live = [call.partition(":")[0] for call in serving.calls]
    assert live[: serving.place("python - site")] == ["green"] * serving.place("python - site")
    assert set(live[serving.place("python - site") :]) == {"blue"}
    assert serving.tags[f"{APP}:blue"] == serving.tags[f"{APP}:worker"] == "sha256:3"
    assert serving.tags[f"{APP}:green"] == "sha256:2", "kept for a rollback"
    owner = [call for call in serving.calls if "secrets/owner" in call]
    assert ["flask db upgrade" in call for call in owner] == [True], "nothing else has the owner's password"
    assert "PGOPTIONS=-c lock_timeout=2s" in owner[0]


def test_the_first_release_has_nothing_to_back_up_and_takes_itself_away_when_it_fails(host: Host) -> None:
    status, said = host.run("release", "1", fails="python - smoke")
    assert status != 0
    assert "Nothing is live, as before" in said
    assert not host.live.exists()
    assert f"{APP}:blue" not in host.tags
    (host.fake / "schema").unlink()
    status, said = host.run("release", "1")
    assert status == 0, said
    assert host.live.read_text() == "blue"
    assert not any("backup" in call for call in host.calls)


def test_an_image_that_is_nowhere_is_refused(serving: Host) -> None:
    status, _ = serving.run("release", "4")
    assert status != 0
    assert serving.live.read_text() == "green"
    assert not any("compose" in call for call in serving.calls)


def test_without_a_backup_the_checklist_only_tells(serving: Host) -> None:
    status, said = serving.run("release", "3", fails="flask ready", SKIP_BACKUP="1")
    assert status == 0, said
    assert not any("backup create" in call for call in serving.calls)


def test_a_release_that_is_ended_from_outside_is_undone(serving: Host) -> None:
    before = serving.tags
    (serving.fake / "calls").unlink(missing_ok=True)
    process = subprocess.Popen(
        [str(serving.deploy / "release"), "3"],
        env=serving.environment | {"FAILS": "python - ready", "READY_SECONDS": "60"},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not any("python - ready" in call for call in serving.calls):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "FAILED at: wait until blue is ready" in said
    assert (serving.live.read_text(), serving.tags) == ("green", before)
    assert any("rm --stop --force blue" in call for call in serving.calls)


@pytest.mark.parametrize("script", [("release", "3"), ("rollback",), ("backup", "restore", "latest", "--yes")])
def test_only_one_is_at_work_at_a_time(serving: Host, script: tuple[str, ...]) -> None:
    with (serving.live.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, said = serving.run(*script)
    assert status != 0
    assert "is at work" in said
    assert not any("compose" in call for call in serving.calls)


# ---- rollback and restore


def test_a_rollback_starts_what_was_live_and_never_migrates(serving: Host) -> None:
    status, said = serving.run("rollback")
    assert status == 0, said
    assert f"{APP} 1 is live in blue" in said, "whoever goes back learns to which version"
    assert serving.live.read_text() == "blue"
    assert serving.tags[f"{APP}:blue"] == serving.tags[f"{APP}:worker"] == "sha256:1"
    assert not any(re.search(r"upgrade|downgrade|secrets/owner|force-recreate| run ", call) for call in serving.calls)
    assert serving.place("python - smoke") < serving.place("python - site") < serving.place("stop green")


@pytest.mark.parametrize("fails", ["--no-deps blue", "python - ready", "python - smoke", "python - site", "jobs dead"])
def test_a_rollback_that_fails_changes_nothing(serving: Host, fails: str) -> None:
    before = serving.tags
    status, said = serving.run("rollback", fails=fails)
    assert status != 0
    assert "FAILED at: " in said
    assert (serving.live.read_text(), serving.tags) == ("green", before)
    assert not any("rm --stop" in call for call in serving.calls), "it can be tried again"


def test_there_is_no_way_back_from_the_first_release(host: Host) -> None:
    assert host.run("release", "1")[0] == 0
    status, said = host.run("rollback")
    assert status != 0
    assert "no colour to go back to" in said
    assert host.live.read_text() == "blue"


def test_a_restore_says_yes_and_migrates_what_it_brought_back(serving: Host) -> None:
    status, said = serving.run("backup", "restore", "latest")
    assert status != 0
    assert "overwrites" in said
    assert serving.calls == []
    status, said = serving.run("backup", "restore", "latest", "--yes")
    assert status == 0, said
    order = ["stop blue green worker", "backup restore latest --yes", "db upgrade", "up --detach --wait green worker"]
    assert [serving.place(words) for words in order] == sorted(serving.place(words) for words in order)


# ---- what setup writes


def test_setup_writes_random_secrets_once_and_only_known_settings(host: Host) -> None:
    files = [path for path in host.deploy.rglob("*") if path.is_file() and "kubernetes" not in path.parts]
    secrets = {path: path.read_bytes() for path in files if "secrets" in path.relative_to(host.deploy).parts}
    assert host.set_up().count("wrote") == 0
    assert {path: path.read_bytes() for path in secrets} == secrets
    assert (host.deploy / "secrets").stat().st_mode & 0o077 == 0, "nobody else of the host enters"
    assert (host.deploy / ".env").stat().st_mode & 0o077 == 0
    project = host.deploy.parent
    known = set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", (project / ".env.example").read_text("utf-8"), re.MULTILINE))
    assert {path.name.upper() for path in (host.deploy / "secrets/app").iterdir()} <= known
    settings = (host.deploy / "app.env").read_text("utf-8")
    assert set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", settings, re.MULTILINE)) <= known
    values = [path.read_text() for path in secrets if path.name in ("secret_key", "restic_password", "password")]
    assert len(set(values)) == 3
    assert all(len(value.strip()) >= 40 for value in values)
    subprocess.run(["git", "init", "--quiet", str(project)], check=True)
    told = ["git", "-C", str(project), "status", "--porcelain", "--untracked-files=all", "--", "deploy", "monitoring"]
    seen = subprocess.run(told, check=True, capture_output=True, text=True).stdout
    assert "deploy/release" in seen
    assert not re.search(r" deploy/(secrets/|state/|\.env|app\.env)", seen), "git would take a secret"
