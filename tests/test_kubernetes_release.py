"""A release on Kubernetes: what is done in which order, what is undone, and whether the pods' settings are accepted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import render_into
from projects import make, run

TOOLS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
# Notes what it is asked, builds manifests for real, and fails at what FAILS names.
KUBECTL = """#!/usr/bin/env bash
echo "$*" >>"$CALLS"
case $* in
  kustomize*) exec {kubectl} "$@" ;;
  *condition=Complete*) [[ $FAILS != migration ]] ;;
  *condition=Failed*) [[ $FAILS == migration ]] ;;
  *"rollout status deployment/$FAILS") exit 1 ;;
  *apply*) cp "$(sed -E 's/.*--filename ([^ ]+).*/\\1/' <<<"$*")" "$CALLS.yaml" ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = render_into(tmp_path)
    production = project / "deploy/kubernetes/production"
    shutil.copytree(production / "secrets.example", production / "secrets")
    (project / "bin").mkdir()
    (project / "bin/kubectl").write_text(KUBECTL.format(kubectl=shutil.which("kubectl", path=TOOLS)), "utf-8")
    (project / "bin/kubectl").chmod(0o755)
    return project


def release(project: Path, version: str, fails: str = "nothing") -> tuple[int, list[str], str]:
    """Exit status, what kubectl was asked, and what was said."""
    calls = project / "calls"
    calls.unlink(missing_ok=True)
    environment = {"PATH": f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}", "CALLS": str(calls), "FAILS": fails}
    done = subprocess.run(
        [str(project / "deploy/kubernetes/release"), version],
        env=os.environ | environment, check=False, capture_output=True, text=True,
    )  # fmt: skip
    asked = calls.read_text("utf-8").splitlines() if calls.exists() else []
    return done.returncode, asked, done.stdout + done.stderr


def position(asked: list[str], words: str) -> int:
    (found,) = (place for place, call in enumerate(asked) if words in call)
    return found


def test_migrations_are_done_before_any_pod_is_replaced(project: Path) -> None:
    status, asked, said = release(project, "1.2.3")
    assert status == 0, said
    assert all("--namespace chat-assistant" in call for call in asked if not call.startswith("kustomize"))
    first = position(asked, "component notin (web, worker)")
    waited = position(asked, "wait --for=condition=Complete --timeout=5s job/migrate-1.2.3")
    (everything,) = (n for n, call in enumerate(asked) if "apply" in call and "--selector" not in call)
    assert position(asked, "delete --ignore-not-found job/migrate-1.2.3") < first < waited < everything
    assert everything < position(asked, "rollout status deployment/web")
    assert not any("undo" in call for call in asked)
    applied = list(yaml.safe_load_all((project / "calls.yaml").read_text("utf-8")))
    (job,) = (each for each in applied if each["kind"] == "Job")
    assert job["metadata"]["name"] == "migrate-1.2.3"
    images = {line.strip() for line in (project / "calls.yaml").read_text("utf-8").splitlines() if "image: reg" in line}
    assert images == {"image: registry.example.com/chat-assistant:1.2.3"}
    labels = {each["metadata"]["name"]: each["metadata"].get("labels", {}) for each in applied}
    assert labels["migrate-1.2.3"]["app.kubernetes.io/component"] not in ("web", "worker")
    assert labels["worker"]["app.kubernetes.io/component"] == "worker"


def test_a_migration_that_fails_changes_nothing_else(project: Path) -> None:
    status, asked, said = release(project, "1.2.3", fails="migration")
    assert status == 1
    assert "FAILED: the migration to 1.2.3" in said
    assert sum("apply" in call for call in asked) == 1
    assert any("logs" in call for call in asked)


@pytest.mark.parametrize("deployment", ["web", "worker"])
def test_pods_that_do_not_become_ready_are_taken_back(project: Path, deployment: str) -> None:
    status, asked, said = release(project, "1.2.3", fails=deployment)
    assert status == 1
    assert f"FAILED: {deployment} of 1.2.3" in said
    assert {call.split()[-1] for call in asked if "rollout undo" in call} == {"deployment/web", "deployment/worker"}


@pytest.mark.parametrize("version", ["", "1.2.3; reboot", "UPPER", "-1", "1/2"])
def test_what_is_no_version_is_refused(project: Path, version: str) -> None:
    status, asked, _ = release(project, version)
    assert status != 0
    assert asked == []


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of a real domain, set up, with the example secrets."""
    project = render_into(tmp_path_factory.mktemp("installed"), domain_name="chat.example.net")
    make(project, "setup")
    production = project / "deploy/kubernetes/production"
    shutil.copytree(production / "secrets.example", production / "secrets")
    return project


def built(project: Path) -> list[dict[str, Any]]:
    kubectl = str(shutil.which("kubectl", path=TOOLS))
    return list(yaml.safe_load_all(run(project, kubectl, "kustomize", "deploy/kubernetes/production")))


@pytest.mark.slow
def test_the_application_starts_with_the_settings_and_secrets_of_its_pods(installed: Path, tmp_path: Path) -> None:
    secrets = {
        "SECRET_KEY": "vq3hV0o8m2Jk5wR7yT1uP4zX6cB9nLsD",
        "DATABASE_URL": "postgresql://app:a@db.internal/app",
        "REDIS_URL": "redis://redis.internal:6379/0",
        "MAIL_URL": "smtp://mail.internal",
        "OPENAI_API_KEY": "none",
    }
    settings = next(each["data"] for each in built(installed) if each["metadata"]["name"].startswith("settings-"))
    # As the kubelet mounts a Secret: the files are links into a folder that is swapped when the Secret changes.
    mounted = tmp_path / "mounted"
    (mounted / "..2026_01_01").mkdir(parents=True)
    (mounted / "..data").symlink_to("..2026_01_01")
    for name, value in secrets.items():
        (mounted / "..2026_01_01" / name).write_text(value, "utf-8")
        (mounted / name).symlink_to(f"..data/{name}")
    code = """if True:
        import pathlib, runpy, sys
        from app import config
        config.SECRETS_DIR = pathlib.Path(sys.argv[1])
        conf = runpy.run_path(sys.argv[2])
        settings = conf["settings"]
        print(conf["graceful_timeout"], conf["workers"], settings.processes, settings.database)
    """
    (tmp_path / "pod").mkdir()
    arguments = [str(installed / ".venv/bin/python"), "-c", code, str(mounted), str(installed / "gunicorn.conf.py")]
    said = run(tmp_path / "pod", *arguments, **settings)
    assert said.split() == ["135", "2", "8", "postgresql+psycopg://app:a@db.internal/app"]


@pytest.mark.slow
def test_the_commands_of_pods_are_commands_and_clean_up_runs(installed: Path) -> None:
    commands: set[tuple[str, ...]] = set()
    for each in built(installed):
        spec = each.get("spec", {})
        spec = spec["jobTemplate"]["spec"] if each["kind"] == "CronJob" else spec
        for container in spec.get("template", {}).get("spec", {}).get("containers", []):
            if container["image"].startswith("registry.example.com/"):
                commands.add(tuple(container.get("args", ())))
    assert ("flask", "jobs") in commands
    code = """if True:
        import json, sys
        from flask.cli import main
        for command in json.loads(sys.argv[1]):
            sys.argv = [*command, "--help"]
            try:
                main()
            except SystemExit as end:
                assert not end.code, command
    """
    asked = sorted(command for command in commands if command)
    assert {command[0] for command in asked} == {"flask"}
    said = run(installed, str(installed / ".venv/bin/python"), "-c", code, json.dumps(asked))
    assert said.count("Usage: flask") == len(asked), said
    assert "sessions" in run(installed, str(installed / ".venv/bin/flask"), "cleanup")
