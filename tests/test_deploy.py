"""One host: containers are confined, times fit, proxy and application send the same headers, a colour is asked well."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from conftest import render_into

APP = "chat-assistant"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_into(tmp_path_factory.mktemp("deploy"))


@pytest.fixture(scope="module")
def compose(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((project / "deploy/compose.yaml").read_text("utf-8"))
    return found


def test_every_container_is_confined(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "pids_limit", "cpu_shares", "logging"} <= service.keys(), name
        assert not service.keys() & {"privileged", "network_mode", "pid", "devices"}, name
        assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else []), name
        assert ("ports" in service) == (name == "caddy"), name
        assert not any("docker.sock" in volume for volume in service["volumes"]), name


def test_nobody_is_root_but_the_proxy(project: Path, compose: dict[str, Any]) -> None:
    users = {name: service.get("user") for name, service in compose["services"].items()}
    assert users["postgres"] == users["redis"] == "999"
    image = re.findall(r"^USER (\S+)", (project / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert image[-1] == "10001:10001"
    assert {name for name, user in users.items() if user is None} == {"blue", "green", "worker", "operate", "caddy"}


def test_databases_can_be_reached_from_inside_only(compose: dict[str, Any]) -> None:
    assert compose["networks"]["inside"] == {"internal": True}
    for name in ("postgres", "redis"):
        assert compose["services"][name]["networks"] == ["inside"], name
    assert "inside" not in compose["services"]["caddy"]["networks"]


def test_every_service_has_a_health_check(project: Path, compose: dict[str, Any]) -> None:
    assert "\nHEALTHCHECK " in (project / "Dockerfile").read_text("utf-8")
    for name in ("caddy", "worker", "postgres", "redis"):
        assert compose["services"][name]["healthcheck"]["test"][0].startswith("CMD"), name
    for name in ("blue", "green"):
        assert "healthcheck" not in compose["services"][name], "the image's own"


def test_secrets_are_files_and_images_are_pinned(project: Path, compose: dict[str, Any]) -> None:
    secret = re.compile(r"(?i)secret|password|token|_key$|_url$")
    for name, service in compose["services"].items():
        named = {key for key in service.get("environment", {}) if secret.search(key) and not key.endswith("_FILE")}
        assert not named, name
        mounts = [volume for volume in service["volumes"] if "secrets" in volume]
        assert all(volume.endswith(":ro") for volume in mounts), name
        assert not any("owner" in volume for volume in mounts), "the owner's password is mounted for migrations alone"
        version = service["image"].removesuffix("}").rpartition(":")[2]
        assert re.fullmatch(r"[\d.]+|blue|green|worker", version), name
    for path in re.findall(r"- (\.\./\S+|\./\S+?):", (project / "deploy/compose.yaml").read_text("utf-8")):
        assert (project / "deploy" / path).exists() or path == "./state", path


def test_both_colours_are_the_same_and_share_what_a_release_needs(compose: dict[str, Any]) -> None:
    blue, green = compose["services"]["blue"], compose["services"]["green"]
    assert blue | {"image": ""} == green | {"image": ""}
    assert (blue["image"], green["image"]) == (f"{APP}:blue", f"{APP}:green")
    assert "data:/data" in blue["volumes"], "a page of one colour asks the other for its files"


def test_a_trial_as_localhost_needs_no_key_no_mail_server_and_no_probe(default_render: Path, tmp_path: Path) -> None:
    deploy = Path(shutil.copytree(default_render / "deploy", tmp_path / "deploy"))
    subprocess.run([deploy / "setup", "localhost"], check=True, stdout=subprocess.DEVNULL)
    assert "\nMODEL=demo\n" in (deploy / "app.env").read_text("utf-8")
    assert (deploy / "secrets/app/mail_url").read_text("utf-8").startswith("smtp://127.0.0.1")
    assert yaml.safe_load((deploy / "secrets/monitoring/site.yml").read_text("utf-8")) == []


def test_the_monitoring_profile_finds_its_files(project: Path, compose: dict[str, Any]) -> None:
    subprocess.run([project / "deploy/setup", "chat.example.net"], check=True, stdout=subprocess.DEVNULL)
    for included in compose["include"]:
        stack = yaml.safe_load((project / "deploy" / included).read_text("utf-8"))
        for name, service in stack["services"].items():
            assert service["profiles"] == ["monitoring"], name
            for source in (volume.split(":")[0] for volume in service.get("volumes", [])):
                assert source in stack["volumes"] or (project / "monitoring" / source).exists(), source
        assert "monitoring" in compose["services"]["blue"]["networks"]
        assert "monitoring" in stack["networks"]
        env = dict(line.split("=", 1) for line in (project / "deploy/.env").read_text().splitlines() if line[0] != "#")
        place = project / "monitoring" / env["MONITORING_FILES"]
        wanted = [*stack["configs"].values(), *stack["secrets"].values()]
        # A container whose root is read-only gets neither contents nor variables.
        assert all((place / each["file"].rpartition("/")[2]).is_file() for each in wanted)
        targets = re.findall(r'"(\w+):\d+"', (project / "monitoring/prometheus/prometheus.yml").read_text("utf-8"))
        assert set(targets) <= stack["services"].keys()
        assert yaml.safe_load((place / "site.yml").read_text()) == [{"targets": ["https://chat.example.net/livez"]}]


def duration(text: str) -> float:
    return float(text.removesuffix("s"))


def test_times_of_proxy_server_and_containers_fit(project: Path, compose: dict[str, Any]) -> None:
    example = (project / ".env.example").read_text("utf-8")
    seconds = re.findall(r"^# RUN_TIMEOUT_SECONDS=(\d+)$", example, re.MULTILINE)[0]
    code = """if True:
        import json, runpy, sys, unittest.mock as mock
        config = mock.MagicMock(SettingsError=Exception)
        config.load.return_value = mock.MagicMock(run_timeout_seconds=float(sys.argv[1]), development=False)
        sys.modules |= {"app": mock.MagicMock(config=config), "app.config": config}
        sys.modules |= {name: mock.MagicMock() for name in ("app.chat", "app.chat.runs")}
        conf = runpy.run_path("gunicorn.conf.py")
        print(json.dumps([conf["graceful_timeout"], conf["keepalive"]]))
    """
    command = [sys.executable, "-c", code, seconds]
    said = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout
    graceful, keepalive = json.loads(said)
    caddy = (project / "deploy/caddy/Caddyfile").read_text("utf-8")
    told = dict(re.findall(r"^\s*(keepalive|grace_period|health_interval) (\d+s)\b", caddy, re.MULTILINE))
    for colour in ("blue", "green"):
        assert graceful < duration(compose["services"][colour]["stop_grace_period"]), colour
    assert duration(told["keepalive"]) < keepalive, "else a request may arrive on a connection that is being closed"
    assert duration(told["grace_period"]) < duration(compose["services"]["caddy"]["stop_grace_period"])


def test_what_the_proxy_answers_itself_has_the_headers_of_the_application(project: Path) -> None:
    table = tomllib.loads((project / "src/app/security/headers.toml").read_text("utf-8"))
    # A directive that allows the nonce alone allows nothing where there is none.
    policy = "; ".join(f"""{name} {value or "'none'"}""" for name, value in table["content-security-policy"].items())
    permissions = ", ".join(f"{name}={value}" for name, value in table["permissions-policy"].items())
    caddy = (project / "deploy/caddy/Caddyfile").read_text("utf-8")
    # "?": only where the application's own is missing.
    found = re.findall(r'^\s*(?:header )?\?([A-Z][\w-]+) (?:"([^"]*)"|(\S+))$', caddy, re.MULTILINE)
    sent = {name: quoted or bare for name, quoted, bare in found}
    assert sent == table["others"] | {"Content-Security-Policy": policy, "Permissions-Policy": permissions}


def test_scripts_are_executable_bash(project: Path) -> None:
    for name in ("release", "rollback", "setup", "backup", "common.sh"):
        script = project / "deploy" / name
        done = subprocess.run(["bash", "-n", str(script)], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert os.access(script, os.X_OK) == (name != "common.sh"), name


# ---- what a release asks a colour


class Answers(BaseHTTPRequestHandler):
    wrong: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        known = {"/readyz": b"ok", "/livez": b"ok", "/static/a.css": b"a{}"}
        known["/login"] = b'<link href="/static/a.css"><form action="/login">'
        bad = self.path in self.wrong
        self.send_response(503 if bad or self.headers["Host"] != "chat.example.net" else 200)
        self.end_headers()
        self.wfile.write(b"" if bad else known[self.path])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def colour() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever).start()
    yield str(server.server_address[1])
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("what", "wrong", "well"),
    [
        ("ready", set(), True),
        ("ready", {"/readyz"}, False),
        ("smoke", set(), True),
        ("smoke", {"/readyz"}, True),
        ("smoke", {"/livez"}, False),
        ("smoke", {"/login"}, False),
        ("smoke", {"/static/a.css"}, False),
    ],
)
def test_a_colour_is_asked_what_matters(
    project: Path, colour: str, monkeypatch: pytest.MonkeyPatch, what: str, wrong: set[str], well: bool
) -> None:
    monkeypatch.setattr(Answers, "wrong", wrong)
    environment = os.environ | {"PORT": colour, "TRUSTED_HOSTS": "chat.example.net"}
    command = [sys.executable, str(project / "deploy/check.py"), what]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert (done.returncode == 0) == well, done.stderr
    assert well or any(path in done.stderr for path in wrong)
