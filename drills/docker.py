"""Builds the image, brings the compose file up by its own release script, and looks at both from outside."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import lab
from parts.docker_host import DockerHost
from parts.looks import header_problems, stream_problems, tls_problems, trace_problems
from parts.site import APP, URL, Site

PLANTED = "planted-0123456789"
PLACES = (".env", ".env.production", "src/.env", "src/app/.env", ".git/config", "src/app/.git/config", "data/app.db")
TOOLS = ("gcc", "cc", "g++", "make", "ld", "uv", "git", "curl", "perl5.40")
RECEIVER = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
HTTPServer(("0.0.0.0", 8002), Handler).serve_forever()
"""
NEEDED = ("pg_dump", "pg_restore", "psql", "restic", "gunicorn", "flask")


def plant(project: Path) -> list[Path]:
    """Secrets where they might lie; returns those that were put there."""
    put = []
    for place in PLACES:
        path = project / place
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"SECRET_KEY={PLANTED}\n")
            put.append(path)
    return put


def built(site: Site) -> Iterator[str]:
    """The image: what is in it, what is not."""
    planted = plant(site.project)
    try:
        seconds = site.build("1")
    finally:
        for path in planted:
            path.unlink()
            if path.parent.name == ".git":
                path.parent.rmdir()
    docker = site.host.docker
    print(f"  built in {seconds:.0f} s, of {', '.join(site.stand_ins) or 'official images'} as stand-ins", flush=True)
    for row in docker("history", "--format", "{{.Size}}\t{{.CreatedBy}}", f"{APP}:1").splitlines():
        size, _, made = row.partition("\t")
        if size != "0B":
            print(f"  {size:>8}  {made[:90]}", flush=True)
    size = int(docker("image", "inspect", "--format", "{{.Size}}", f"{APP}:1"))
    print(f"  {size / 1e6:8.0f}MB  in all", flush=True)
    yield from leaks(site)
    yield from contents(site)


def leaks(site: Site) -> Iterator[str]:
    container = site.host.docker("create", f"{APP}:1").strip()
    command = ["docker", "export", container]
    out = subprocess.Popen(command, env=site.host.environment, stdout=subprocess.PIPE)
    rest = b""
    assert out.stdout
    while chunk := out.stdout.read(1 << 20):
        if PLANTED.encode() in rest + chunk:
            yield "a planted secret is in the image"
            out.kill()
            break
        rest = chunk[-64:]
    out.wait()
    site.host.docker("rm", container)


def contents(site: Site) -> Iterator[str]:
    def inside(*command: str) -> str:
        hardened = ["--rm", "--read-only", "--cap-drop", "ALL", "--network", "none", "--tmpfs", "/tmp"]
        return site.host.docker("run", *hardened, f"{APP}:1", *command)

    who = inside("id", "-u").strip()
    if who != "10001":
        yield f"it runs as {who}"
    found = inside("sh", "-c", f"command -v {' '.join(TOOLS)} || true").split()
    if found:
        yield f"tools of a build: {found}"
    missing = [name for name in NEEDED if not inside("sh", "-c", f"command -v {name} || true").strip()]
    if missing:
        yield f"missing: {missing}"
    groups = tomllib.loads((site.project / "pyproject.toml").read_text())["dependency-groups"]
    dev = {re.match(r"[a-z0-9-]+", name)[0] for name in groups["dev"] if isinstance(name, str)} - {"pydantic-ai-slim"}
    code = "import importlib.metadata as m, json; print(json.dumps([d.name.lower() for d in m.distributions()]))"
    there = set(json.loads(inside("python", "-c", code)))
    print(f"  {len(there)} distributions; pg_dump {inside('pg_dump', '--version').split()[-1]}", flush=True)
    if extra := sorted(dev & there):
        yield f"development dependencies: {extra}"
    labels = json.loads(site.host.docker("image", "inspect", "--format", "{{json .Config.Labels}}", f"{APP}:1"))
    for name, wanted in (("version", "1"), ("title", "Chat Assistant")):
        if labels.get(f"org.opencontainers.image.{name}") != wanted:
            yield f"label {name} is {labels.get(f'org.opencontainers.image.{name}')}"
    command = json.loads(site.host.docker("image", "inspect", "--format", "{{json .Config.Cmd}}", f"{APP}:1"))
    if command != ["gunicorn", "wsgi:app"]:
        yield f"the entry point is not in exec form: {command}"


def scanned(site: Site) -> Iterator[str]:
    """hadolint and trivy: nothing found; and they find what is planted, so that silence means something."""
    folder = lab.WORK / "scanned"
    folder.mkdir()
    good = (site.project / "Dockerfile").read_text()
    tools = {
        "hadolint": ([], "RUN cd /tmp\n"),
        "trivy": (["config", "--quiet", "--skip-check-update", "--exit-code", "1"], ""),
    }
    for name, (arguments, bad) in tools.items():
        for text, wanted in ((good, 0), (good.replace("USER 10001:10001\n", bad), 1)):
            (folder / "Dockerfile").write_text(text)
            where = str(folder / "Dockerfile") if name == "hadolint" else str(folder)
            done = subprocess.run([site.host.tool(name), *arguments, where], capture_output=True, text=True)
            if (done.returncode != 0) != wanted:
                yield f"{name}: {done.returncode}, {done.stdout[-2000:]}"
    skipped = ["--skip-dirs", ".venv", "--skip-dirs", "deploy/secrets", "--skip-files", ".env"]
    secrets = ["fs", "--quiet", "--scanners", "secret", "--exit-code", "1", *skipped, str(site.project)]
    done = subprocess.run([site.host.tool("trivy"), *secrets], capture_output=True, text=True)
    if done.returncode:
        yield f"trivy secret: {done.stdout[-2000:]}"
    print("  hadolint, trivy config and secret: nothing found, and what was planted was", flush=True)


def documented(site: Site, begin: str, end: str) -> str:
    """What docs/deployment.md says between two marks."""
    return (site.project / "docs/deployment.md").read_text().partition(begin)[2].partition(end)[0]


def tried(site: Site) -> Iterator[str]:
    """The trial on a laptop, word for word, but for the ports and with the image that is there."""
    site.forget()
    site.host.docker("tag", f"{APP}:1", f"{APP}:1.0.0")
    blocks = re.findall(r"```sh\n(.*?)```", documented(site, "## A trial on a laptop", "\n## "), re.DOTALL)
    lines = [line for line in "".join(blocks).splitlines() if not line.startswith("docker build")]
    script = "\n".join(lines).replace("https://localhost/", f"{URL}/")
    command = ["bash", "-euxo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=site.project, env=site.environment, capture_output=True, text=True)
    if done.returncode or "The password of you@example.org" not in done.stdout:
        yield f"the trial on a laptop: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    print(f"  {len(lines)} lines of the trial on a laptop", flush=True)


def running(site: Site) -> Iterator[str]:
    """The compose file as it is: every service healthy and confined, TLS, headers, streams, backups, ends."""
    started = time.monotonic()
    site.set_up()
    first = site.run("release", "1")
    if first.returncode:
        yield f"the first release: {first.stdout[-4000:]}"
        return
    print(f"  first release, on an empty host: {time.monotonic() - started:.0f} s", flush=True)
    yield from confined(site)
    authority = ssl.create_default_context(cafile=str(site.authority()))
    yield from tls_problems(site, authority)
    yield from header_problems(site, authority)
    yield from trace_problems(site, authority)
    yield from stream_problems(site, authority)
    said = site.try_compose(
        "exec", "-T", "blue", "sh", "-c", 'psql "$(cat /run/secrets/database_url)" -c "CREATE TABLE t()"'
    )
    if "permission denied" not in said.stderr:
        yield f"the application's role may change the schema: {said.stderr}"
    for command in (["create"], ["verify"], ["drill"]):
        done = site.run("backup", *command)
        print(f"  backup {command[0]}: {done.stdout.strip().splitlines()[-1][:100]}", flush=True)
        if done.returncode:
            yield f"backup {command}: {done.stdout[-2000:]}"
    waited = lab.wait_until(lambda: not unhealthy(site), 180, "all services healthy")
    print(f"  every service is healthy (waited {waited:.0f} s more)", flush=True)
    yield from monitored(site)
    for service in (site.live, "worker", "redis", "postgres"):
        yield from ends(site, service)
    print("  nothing is up: ", end="", flush=True)
    yield from header_problems(site, authority, down=True)
    yield from ends(site, "caddy")


def monitored(site: Site) -> Iterator[str]:
    """The monitoring profile, without Grafana, which cannot be had offline: metrics arrive, an alert is delivered."""
    settings = site.deploy / "app.env"
    commented = r"^# ((?:OTEL|PROMETHEUS|ALERTMANAGER)_\w+=)"
    settings.write_text(re.sub(commented, r"\1", settings.read_text(), flags=re.MULTILINE))
    (site.deploy / "secrets/monitoring/alert_webhook_url").write_text("http://receiver:8002/")
    command = documented(site, "3. `docker compose -f deploy/compose.yaml ", " grafana`").split()
    site.compose(*command)
    version = re.findall(r"ARG PYTHON_VERSION=(\S+)", (site.project / "Dockerfile").read_text())[0]
    where = ["--name", "receiver", "--network", f"{APP}_monitoring"]
    site.host.docker("run", "--detach", *where, f"python:{version}-slim", "python3", "-c", RECEIVER)
    again = site.run("release", "1")
    if again.returncode:
        yield f"the release with monitoring: {again.stdout[-4000:]}"
    said = json.loads(site.try_compose("exec", "-T", "worker", "flask", "ready", "--stage", "deploy", "--json").stdout)
    asked = {each["id"]: each for each in said if each["id"] in ("alert-rules", "alert-receiver")}
    yield from (f"{name}: {each}" for name, each in asked.items() if each["status"] != "pass")
    query = "http://prometheus:9090/api/v1/query?query=sum(http_server_request_duration_seconds_count)"
    code = f"import httpx2; print(httpx2.get('{query}').json()['data']['result'])"
    lab.wait_until(
        lambda: "value" in site.try_compose("exec", "-T", "worker", "python", "-c", code).stdout, 60, "metrics arrive"
    )
    print(f"  {' '.join(command)}: metrics arrive, {len(asked)} of 2 checks of alerts pass", flush=True)


def containers(site: Site) -> list[dict]:
    return json.loads(site.host.docker("inspect", *site.compose("ps", "-aq").split()))


def unhealthy(site: Site) -> list[str]:
    return [each["Name"] for each in containers(site) if each["State"]["Health"]["Status"] != "healthy"]


def confined(site: Site) -> Iterator[str]:
    for each in containers(site):
        name, limits = each["Name"], each["HostConfig"]
        wrong = [
            f"{key} is {limits[key]}"
            for key, good in (("ReadonlyRootfs", True), ("CapDrop", ["ALL"]), ("Privileged", False))
            if limits[key] != good
        ]
        wrong += [key for key in ("Memory", "PidsLimit", "CpuShares") if not limits[key]]
        wrong += [] if "no-new-privileges:true" in limits["SecurityOpt"] else ["no-new-privileges"]
        published = [port for port, where in each["NetworkSettings"]["Ports"].items() if where]
        wrong += published if "caddy" not in name else []
        if wrong:
            yield f"{name}: {', '.join(map(str, wrong))}"
    said = site.try_compose("exec", "-T", "blue", "sh", "-c", "touch /app/x || touch /x")
    if not said.returncode:
        yield "the root of the application can be written to"


def ends(site: Site, service: str) -> Iterator[str]:
    """SIGTERM ends it by itself, within the grace, with status 0."""
    started = time.monotonic()
    identity = site.compose("ps", "-q", service).strip()
    site.compose("stop", service)
    seconds = time.monotonic() - started
    status = site.host.docker("inspect", "--format", "{{.State.ExitCode}}", identity).strip()
    print(f"  {service} ends with {status} after {seconds:.1f} s", flush=True)
    if status != "0":
        yield f"{service} ended with {status}"


def main() -> int:
    problems: list[str] = []
    with DockerHost() as host:
        site = Site(host)
        if host.try_docker("compose", "--file", str(site.project / "compose.yaml"), "config", "--quiet").returncode:
            problems.append("compose.yaml is not valid")
        for part in (built, scanned, tried, running):
            print(f"{part.__doc__.partition(':')[0]}", flush=True)
            problems += part(site)
    for problem in problems:
        print(f"  PROBLEM {problem}", flush=True)
    return bool(problems)


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        lab.end_all()
