"""Dashboards, alerts and the runbook fit together and fit what the application emits."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from metrics_table import PROBES, prometheus_name, series
from support import missing

from app.observability.metrics import Metric

ROOT = Path(__file__).parents[1]
MONITORING = ROOT / "monitoring"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text("utf-8")
SERIES = series()
# What Prometheus adds to every series, and our recording rules make.
OWN_LABELS = {"instance", "job", "le"}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "prometheus" / "alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for file in sorted((MONITORING / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text("utf-8"))["panels"]:
            for target in panel["targets"]:
                legend = sorted(set(re.findall(r"{{(\w+)}}", target["legendFormat"])))
                yield f"{file.stem}: {panel['title']}", target["expr"] + f" by ({','.join(legend)})"


def names_in(expression: str) -> set[str]:
    """The series that an expression reads."""
    bare = re.sub(r'"[^"]*"|\b(?:by|on|group_left)\s*\([^)]*\)|\[[^\]]*\]|{[^}]*}', " ", expression)
    words = set(re.findall(r"[a-zA-Z_:][\w:]*(?!\w*\s*\()", bare))
    return {word for word in words if "_" in word and not re.search(rf"\b{word}\s*\(", bare)}


def labels_in(expression: str) -> set[str]:
    matched = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    grouped = ",".join(re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression))
    return {*matched, *(label.strip() for label in grouped.split(",") if label.strip())}


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_query_names_series_and_labels_that_exist(where: str, expression: str) -> None:
    names = names_in(expression)
    assert names, where
    assert names <= SERIES.keys() | PROBES | RECORDED
    known = set().union(*(SERIES.get(name, set()) for name in names))
    assert labels_in(expression) <= known | OWN_LABELS


def test_a_renamed_metric_would_be_noticed() -> None:
    assert names_in("sum(rate(app_runs_total[5m])) / on (instance) app_limits") == {"app_runs_total", "app_limits"}
    assert not {"app_answers_total"} & SERIES.keys()


@pytest.mark.parametrize("name", list(ALERTS))
def test_every_alert_has_a_severity_and_a_section_of_the_runbook(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
    (section,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    for part in ("Meaning.", "Impact.", "First:", "Fix.", "Escalate."):
        assert f"**{part}**" in section
    (commands,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert len(commands.strip().splitlines()) == 3
    for metric in names_in(" ".join(re.findall(r"instant \S+ '([^']*)'", commands))):
        assert metric in SERIES.keys() | PROBES


def test_the_runbook_has_no_section_without_an_alert() -> None:
    assert set(re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)) == set(ALERTS)
    assert {f"#{name.lower()}" for name in ALERTS} >= set(re.findall(r"\((#\w+)\)", RUNBOOK))


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    cases = yaml.safe_load((MONITORING / "prometheus" / "alerts_test.yml").read_text("utf-8"))["tests"]
    checks = [check for case in cases for check in case["alert_rule_test"]]
    for fires in (True, False):
        assert {check["alertname"] for check in checks if bool(check["exp_alerts"]) == fires} == set(ALERTS)


def test_promtool_accepts_the_rules_and_their_cases() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        missing("promtool is missing; `apt-get install prometheus` brings it")
    for command in (["check", "rules", "alerts.yml", "own_alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(
            [promtool, *command], check=False, cwd=MONITORING / "prometheus", capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "kind", "unit", "expected"),
    [  # the rules of github.com/prometheus/otlptranslator, which Prometheus' OTLP receiver uses
        ("requests", "counter", "{request}", "requests_total"),
        ("requests.served", "counter", "1", "requests_served_total"),
        ("wait.time", "histogram", "s", "wait_time_seconds"),
        ("memory.usage", "up-down counter", "By", "memory_usage_bytes"),
        ("cpu.utilization", "gauge", "1", "cpu_utilization_ratio"),
        ("connections", "up-down counter", "1", "connections"),
        ("a.b_c", "gauge", "{thing}", "a_b_c"),
    ],
)
def test_names_are_translated_as_prometheus_translates_them(name: str, kind: str, unit: str, expected: str) -> None:
    assert prometheus_name(Metric(name, kind, unit, "", ())) == expected


def test_the_stack_is_the_same_on_one_host_and_on_kubernetes() -> None:
    compose = yaml.safe_load((MONITORING / "compose.yaml").read_text("utf-8"))
    documents = list(yaml.safe_load_all((MONITORING / "kubernetes.yaml").read_text("utf-8")))
    pods = [document["spec"]["template"]["spec"] for document in documents if document["kind"] != "Service"]
    images = {container["image"] for pod in pods for container in pod["containers"]}
    assert images == {service["image"] for service in compose["services"].values()}
    commands = [*compose["services"]["prometheus"]["command"]]
    assert "--web.enable-otlp-receiver" in commands
    kustomization = yaml.safe_load((MONITORING / "kustomization.yaml").read_text("utf-8"))
    files = [file for generator in kustomization["configMapGenerator"] for file in generator["files"]]
    assert all((MONITORING / file).is_file() for file in files)
    dashboards = {file for file in files if "/dashboards/" in file and file.endswith(".json")}
    assert dashboards == {f"grafana/dashboards/{file.name}" for file in (MONITORING / "grafana/dashboards").glob("*")}
    volumes = {volume["configMap"]["name"] for pod in pods for volume in pod["volumes"] if "configMap" in volume}
    assert volumes == {generator["name"] for generator in kustomization["configMapGenerator"]}
