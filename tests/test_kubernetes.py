"""The Kubernetes manifests are valid, restricted and complete, and agree with compose, gunicorn and the settings."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from conftest import render_into

Resource = dict[str, Any]
TOOLS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
VERSIONS = ("1.33", "1.35", "1.37")
POLICY_BREACH = """
apiVersion: v1
kind: Pod
metadata: {name: breach}
spec: {containers: [{name: app, image: "app:1", securityContext: {privileged: true}}]}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A render whose example secrets are taken as they are; not to be changed."""
    project = render_into(tmp_path_factory.mktemp("kubernetes"))
    production = project / "deploy/kubernetes/production"
    shutil.copytree(production / "secrets.example", production / "secrets")
    return project


@pytest.fixture(scope="module")
def manifests(project: Path) -> str:
    command = ["kubectl", "kustomize", "deploy/kubernetes/production"]
    return subprocess.run(
        [shutil.which(command[0], path=TOOLS) or command[0], *command[1:]],
        cwd=project, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


@pytest.fixture(scope="module")
def resources(manifests: str) -> list[Resource]:
    return list(yaml.safe_load_all(manifests))


@pytest.fixture(scope="module")
def compose(project: Path) -> Resource:
    found: Resource = yaml.safe_load((project / "deploy/compose.yaml").read_text("utf-8"))
    return found


def one(resources: list[Resource], kind: str, name: str) -> Resource:
    (found,) = (
        each
        for each in resources
        if each["kind"] == kind and re.fullmatch(rf"{name}(-[a-z0-9]{{10}})?", each["metadata"]["name"])
    )
    return found


def pods(resources: list[Resource]) -> Iterator[tuple[str, Resource]]:
    """The template of every pod, by the kind and name of what makes it."""
    for each in resources:
        spec = each.get("spec", {})
        spec = spec["jobTemplate"]["spec"] if each["kind"] == "CronJob" else spec
        if "template" in spec:
            yield f"{each['kind']} {each['metadata']['name']}", spec["template"]


def own_pods(resources: list[Resource]) -> dict[str, Resource]:
    """The specifications of the application's own pods, by component."""
    labels = "app.kubernetes.io/component"
    return {pod["metadata"]["labels"][labels]: pod["spec"] for _, pod in pods(resources) if labels in str(pod)}


def settings(resources: list[Resource]) -> dict[str, str]:
    found: dict[str, str] = one(resources, "ConfigMap", "settings")["data"]
    return found


def documented(project: Path) -> dict[str, str]:
    """Every setting of .env.example with the value that stands there."""
    lines = (project / ".env.example").read_text("utf-8")
    return dict(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", lines, re.MULTILINE))


def test_example_secrets_are_committed_and_real_ones_are_not(project: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    command = ["git", "ls-files", "--others", "--exclude-standard", "deploy/kubernetes/production"]
    kept = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout.split()
    examples = {path.name for path in project.glob("deploy/kubernetes/production/secrets.example/*")}
    assert {Path(path).name for path in kept if "/secrets.example/" in path} == examples >= {"app.env", "owner.env"}
    assert not any("/secrets/" in path for path in kept)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_valid_by_the_schemas_of(resources: list[Resource], version: str) -> None:
    for resource in resources:
        kubernetes_validate.validate(resource, version, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(resources[0] | {"spce": {}}, version, strict=True)


def test_no_policy_of_high_or_critical_severity_is_broken(manifests: str, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(manifests, "utf-8")
    (tmp_path / "breach.yaml").write_text(POLICY_BREACH, "utf-8")
    alone = ["--skip-check-update", "--skip-version-check", "--disable-telemetry"]  # without a network
    command = ["config", "--quiet", *alone, "--format", "json", "--severity", "HIGH,CRITICAL", "."]
    trivy = str(shutil.which("trivy", path=TOOLS))
    said = subprocess.run([trivy, *command], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    results = {result["Target"]: result for result in json.loads(said)["Results"]}
    assert [(each["ID"], each["Message"]) for each in results["all.yaml"].get("Misconfigurations", [])] == []
    assert results["all.yaml"]["MisconfSummary"]["Successes"] > 20
    assert "KSV-0017" in str(results["breach.yaml"]["Misconfigurations"])


def test_what_is_referred_to_exists(resources: list[Resource]) -> None:
    there = {(each["kind"], each["metadata"]["name"]) for each in resources}
    volumes = {"configMap": ("ConfigMap", "name"), "secret": ("Secret", "secretName")}
    volumes["persistentVolumeClaim"] = ("PersistentVolumeClaim", "claimName")
    for owner, pod in pods(resources):
        claimed = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        wanted = {
            (kind, volume[key][name])
            for volume in claimed.values()
            for key, (kind, name) in volumes.items()
            if key in volume
        }
        for container in pod["spec"]["containers"]:
            wanted |= {("ConfigMap", source["configMapRef"]["name"]) for source in container.get("envFrom", [])}
            variables = [each["valueFrom"]["secretKeyRef"] for each in container.get("env", []) if "valueFrom" in each]
            wanted |= {("Secret", each["name"]) for each in variables}
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            assert mounted <= claimed.keys() | {"data"}, owner
        assert wanted <= there, owner
    ingress = one(resources, "Ingress", "web")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert ingress["name"] == one(resources, "Service", "web")["metadata"]["name"]


def test_selectors_find_the_web_pods_and_no_others(resources: list[Resource]) -> None:
    web = one(resources, "Deployment", "web")
    labels = web["spec"]["template"]["metadata"]["labels"]
    for kind in ("Service", "PodDisruptionBudget"):
        selector = one(resources, kind, "web")["spec"]["selector"]
        assert selector.get("matchLabels", selector) == labels, kind
    assert one(resources, "NetworkPolicy", "web-answers")["spec"]["podSelector"]["matchLabels"] == labels
    for constraint in web["spec"]["template"]["spec"]["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()
    assert sum(pod["metadata"].get("labels") == labels for _, pod in pods(resources)) == 1


def test_pods_are_restricted(project: Path, resources: list[Resource]) -> None:
    uid = re.findall(r"^USER (\d+)", (project / "Dockerfile").read_text("utf-8"), re.MULTILINE)[-1]
    for owner, pod in pods(resources):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, owner
        assert spec["securityContext"]["runAsNonRoot"] is True, owner
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, owner
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}, owner
        for container in spec["containers"]:
            wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
            assert container["securityContext"] == wanted | {"capabilities": {"drop": ["ALL"]}}, owner
            assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"], owner
    for component, spec in own_pods(resources).items():
        assert spec["securityContext"]["runAsUser"] == int(uid) == 10001, component
        writable = {each["mountPath"] for each in spec["containers"][0]["volumeMounts"] if not each.get("readOnly")}
        assert writable == {"/data", "/tmp"}, component  # noqa: S108 (in the container)
    labels = one(resources, "Namespace", project.name)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_probes_ask_the_right_questions(resources: list[Resource], compose: Resource, project: Path) -> None:
    container = own_pods(resources)["web"]["containers"][0]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/livez", "readiness": "/readyz", "liveness": "/livez"}
    for name in paths:  # any other host but those of TRUSTED_HOSTS is refused
        assert container[f"{name}Probe"]["httpGet"]["httpHeaders"] == [{"name": "Host", "value": "localhost"}]
    assert "/livez" in (project / "Dockerfile").read_text("utf-8")
    caddy = (project / "deploy/caddy/Caddyfile").read_text("utf-8")
    assert re.search(r"health_uri /livez\b", caddy)
    (port,) = (each["containerPort"] for each in container["ports"])
    assert str(port) == compose["x-app"]["environment"]["PORT"] == documented(project)["PORT"]


def graceful_timeout(project: Path, seconds: str) -> int:
    """What gunicorn.conf.py makes of RUN_TIMEOUT_SECONDS, with the rest of the application left out."""
    code = """if True:
        import runpy, sys, unittest.mock as mock
        config = mock.MagicMock(SettingsError=Exception)
        config.load.return_value = mock.MagicMock(run_timeout_seconds=float(sys.argv[1]), development=False)
        sys.modules |= {"app": mock.MagicMock(config=config), "app.config": config}
        sys.modules |= {name: mock.MagicMock() for name in ("app.chat", "app.chat.runs")}
        print(runpy.run_path("gunicorn.conf.py")["graceful_timeout"])
    """
    command = [sys.executable, "-c", code, seconds]
    return int(subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout)


def test_answers_have_the_time_to_be_finished(project: Path, resources: list[Resource], compose: Resource) -> None:
    pod = own_pods(resources)["web"]
    before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    seconds = settings(resources)["RUN_TIMEOUT_SECONDS"]
    graceful = graceful_timeout(project, seconds)
    assert float(seconds) < graceful < pod["terminationGracePeriodSeconds"] - before
    assert 5 <= before <= 15
    assert "RUN_TIMEOUT_SECONDS" not in compose["x-app"]["environment"]
    on_one_host = graceful_timeout(project, documented(project)["RUN_TIMEOUT_SECONDS"])
    assert on_one_host < int(compose["x-app"]["stop_grace_period"].removesuffix("s"))
    assert own_pods(resources)["worker"]["terminationGracePeriodSeconds"] >= 60


def test_settings_agree_with_compose_and_are_known(project: Path, resources: list[Resource], compose: Resource) -> None:
    ours, theirs = settings(resources), compose["x-app"]["environment"]
    for name in ("APP_ENV", "PROXY_HOPS", "OTEL_SERVICE_NAME"):
        assert ours[name] == theirs[name], name
    assert f":-{ours['WEB_CONCURRENCY']}}}" in theirs["WEB_CONCURRENCY"]
    assert own_pods(resources)["worker"]["containers"][0]["args"] == compose["services"]["worker"]["command"]
    assert ours["TRUSTED_HOSTS"] == one(resources, "Ingress", "web")["spec"]["rules"][0]["host"]
    secret = one(resources, "Secret", "app")["data"]
    known = documented(project).keys() | {"OTEL_SERVICE_NAME", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert ours.keys() | secret.keys() <= known
    assert not ours.keys() & secret.keys()
    assert {"SECRET_KEY", "DATABASE_URL", "REDIS_URL", "MAIL_URL", "RESTIC_PASSWORD"} <= secret.keys()
    assert set(secret.values()) == {""}, "an example secret is never a real one"


def test_a_rollout_takes_no_pod_away_and_the_most_pods_are_known(resources: list[Resource]) -> None:
    deployment = one(resources, "Deployment", "web")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in deployment, "it would undo the autoscaler's number with each release"
    scaler = one(resources, "HorizontalPodAutoscaler", "web")["spec"]
    assert scaler["minReplicas"] >= 2
    assert str(scaler["maxReplicas"]) == settings(resources)["REPLICAS"]
    assert one(resources, "PodDisruptionBudget", "web")["spec"]["maxUnavailable"] < scaler["minReplicas"]


def test_nothing_that_a_clock_starts_is_done_twice(resources: list[Resource]) -> None:
    spec = {each["metadata"]["name"]: each["spec"] for each in resources if each["kind"] == "CronJob"}
    runs = {
        name: one_["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"] for name, one_ in spec.items()
    }
    assert runs["backup"] == ["flask", "backup", "create"]
    assert runs["cleanup"] == ["flask", "cleanup"]
    assert runs["restore-drill"] == ["flask", "backup", "drill"]
    worker = {each["name"]: each.get("value") for each in own_pods(resources)["worker"]["containers"][0]["env"]}
    assert worker["BACKUP_EVERY_HOURS"] == "0"
    assert "BACKUP_EVERY_HOURS" not in settings(resources), "readiness measures the age of backups by it"
    assert {name for name, each in spec.items() if each.get("suspend")} == {"cleanup"}, "the worker cleans up"
    assert all(each["concurrencyPolicy"] == "Forbid" for each in spec.values())


def test_files_of_users_are_shared_and_backed_up(resources: list[Resource]) -> None:
    data = {
        component: next(each for each in spec["volumes"] if each["name"] == "data")
        for component, spec in own_pods(resources).items()
    }
    shared = {name for name, volume in data.items() if "persistentVolumeClaim" in volume}
    assert shared == {"web", "worker", "backup", "cleanup"}
    assert one(resources, "PersistentVolumeClaim", "data")["spec"]["accessModes"] == ["ReadWriteMany"]


def test_nothing_is_reached_but_what_is_named(resources: list[Resource]) -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in resources if each["kind"] == "NetworkPolicy"}
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert len(policies["web-answers"]["ingress"]) == 1
    (asks,) = policies["application-asks"]["egress"]
    assert {each["port"] for each in asks["ports"]} == {443, 465, 587, 5432, 6379}
    everywhere = next(each["ipBlock"] for each in asks["to"] if each["ipBlock"]["cidr"] == "0.0.0.0/0")
    assert "169.254.0.0/16" in everywhere["except"]
