"""What the drills of monitoring share: the stack from Debian's packages, the application, and people who use it."""

from __future__ import annotations

import http.client
import http.cookiejar
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from harness import free_port, project, wait_for  # noqa: E402

PARTS = ROOT / ".drills"
PASSWORD = "correct horse battery staple 9"
PACKAGES = ("prometheus", "prometheus-alertmanager", "prometheus-blackbox-exporter")


def parts() -> Path:
    """A folder with prometheus, promtool, alertmanager and blackbox exporter: MONITORING_BIN, or Debian's packages."""
    if folder := os.environ.get("MONITORING_BIN"):
        return Path(folder)
    if not (PARTS / "usr/bin/prometheus").exists():
        PARTS.mkdir(exist_ok=True)
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=PARTS, check=True, stdout=subprocess.DEVNULL)
        for package in PARTS.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, PARTS], check=True)
    return PARTS / "usr/bin"


def versions(folder: Path) -> None:
    for name in ("prometheus", "prometheus-alertmanager"):
        said = subprocess.run([folder / name, "--version"], capture_output=True, text=True, check=True)
        print(f"  {(said.stdout + said.stderr).splitlines()[0]}", flush=True)
    print("  fed through drills/otlp_sink.py: Debian's builds of Prometheus lack the OTLP receiver")


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of *condition*."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.5)
    return value


class Lab:
    """Processes and files of one drill; all are gone when it ends."""

    def __init__(self) -> None:
        self.project = project()
        self.python = str(self.project / ".venv/bin/python")
        self.folder = Path(tempfile.mkdtemp(prefix="drill-"))
        self.parts = parts()
        self.sink = free_port()
        self.log = (self.folder / "log").open("ab")
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Lab:
        self.spawn(self.python, str(ROOT / "drills/otlp_sink.py"), str(self.sink))
        wait_for(self.sink)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.stdin.close() if process.stdin else process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        self.log.close()
        shutil.rmtree(self.folder)

    def spawn(self, *command: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[bytes]:
        kept = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
        process = subprocess.Popen(
            command, cwd=cwd or self.folder, env=kept | environment, stdout=self.log, stderr=self.log
        )
        self.processes.append(process)
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        process.wait(60)
        self.processes.remove(process)

    def probe(self, text: str) -> None:
        """Let the sink show *text*, as a blackbox exporter would."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.sink}/probe", text.encode())
        urllib.request.urlopen(request, timeout=10).close()

    def services(self) -> Any:
        """A PostgreSQL and a Redis: their URLs and process ids."""
        command = [self.python, str(ROOT / "drills/services.py"), str(self.project)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log)
        self.processes.append(process)
        return json.loads(process.stdout.readline() if process.stdout else b"")

    def alertmanager(self, receiver: str) -> int:
        """A real Alertmanager with our configuration, less patient; its port."""
        port = free_port()
        templates = Path("/usr/share/prometheus/alertmanager")  # where Debian's build looks for its own
        if not templates.exists():
            shutil.copytree(self.parts.parent / "share/prometheus/alertmanager", templates)
        text = (self.project / "monitoring/alertmanager/alertmanager.yml").read_text()
        # Debian's Alertmanager is older than url_file, which the image of the compose file knows.
        text = text.replace("url_file: /run/secrets/alert_webhook_url", f"url: {receiver}")
        text = re.sub("group_wait: .*", "group_wait: 1s", re.sub("group_interval: .*", "group_interval: 2s", text))
        (self.folder / "alertmanager.yml").write_text(text)
        self.spawn(
            str(self.parts / "prometheus-alertmanager"), "--config.file=alertmanager.yml", "--storage.path=am",
            f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
        )  # fmt: skip
        wait_for(port)
        return port

    def environment(self, name: str, port: int, **settings: str) -> dict[str, str]:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return {
            "APP_ENV": "development", "SECRET_KEY": "drill-0123456789-abcdefghijklmnopqrstuv", "DATA_DIR": str(folder),
            "MODEL": "demo", "PORT": str(port), "PROXY_HOPS": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.sink}", "OTEL_METRIC_EXPORT_INTERVAL": "2000",
        } | settings  # fmt: skip

    def app(self, name: str = "app", **settings: str) -> App:
        """The generated application behind gunicorn, exporting to the sink every two seconds."""
        port = free_port()
        environment = self.environment(name, port, **settings)
        kept = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
        flask = [self.python, "-m", "flask", "--app", str(self.project / "wsgi.py")]
        quiet = {k: v for k, v in environment.items() if not k.startswith("OTEL_")}
        subprocess.run(
            [*flask, "db", "upgrade"], cwd=self.folder / name, env=kept | quiet, check=True, stdout=self.log,
            stderr=self.log,
        )  # fmt: skip
        command = ["-m", "gunicorn", "-c", str(self.project / "gunicorn.conf.py"), "--pythonpath", str(self.project)]
        process = self.spawn(self.python, *command, "wsgi:app", cwd=self.folder / name, **environment)
        wait_for(port)
        until(lambda: _answers(port), 60, "the application answers")
        return App(port, self.folder / name, process)

    def prometheus(self, rules: str, scrapes: str = "", alertmanager: int = 0) -> str:
        """A real Prometheus that scrapes the sink every second; its address."""
        port = free_port()
        (self.folder / "alerts.yml").write_text(rules)
        alerting = f"alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{alertmanager}']}}]}}]}}"
        (self.folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 2s, evaluation_interval: 2s}\nrule_files: [alerts.yml]\n"
            + (alerting if alertmanager else "")
            + "\nscrape_configs:\n  - job_name: sink\n    honor_labels: true\n"
            + f"    static_configs: [{{targets: ['127.0.0.1:{self.sink}']}}]\n{scrapes}"
        )
        self.spawn(
            str(self.parts / "prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb",
            f"--web.listen-address=127.0.0.1:{port}", "--query.lookback-delta=1m",
        )  # fmt: skip
        wait_for(port)
        return f"http://127.0.0.1:{port}"


def _answers(port: int) -> bool:
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5).status == 200
    except OSError:
        return False


class App:
    """A served application."""

    def __init__(self, port: int, folder: Path, process: subprocess.Popen[bytes]):
        self.port, self.folder, self.process = port, folder, process
        self.url = f"http://127.0.0.1:{port}"


class Person:
    """Somebody with a browser, and a ledger of what they were told."""

    def __init__(self, app: App, address: str = "10.0.0.1"):
        self.app, self.address, self.email = app, address, ""
        cookies = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=None))
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))

    def ask(self, path: str, timeout: float = 60, **form: str) -> tuple[int, bytes]:
        """Status and body of a GET, or of a POST when there is a form."""
        data = urllib.parse.urlencode(form).encode() if form else None
        headers = {"Accept": "application/json", "X-Forwarded-For": self.address}
        if form:
            headers["X-CSRFToken"] = json.loads(self.ask("/account/csrf")[1])["token"]
        request = urllib.request.Request(self.app.url + path, data, headers)
        try:
            with self.opener.open(request, timeout=timeout) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (OSError, http.client.HTTPException):
            return 0, b""

    def sign_up(self, name: str = "") -> Person:
        self.email = f"{name or uuid.uuid4().hex}@example.com"
        status, body = self.ask("/register", email=self.email, password=PASSWORD)
        if status >= 400:
            raise RuntimeError(f"sign-up: {status} {body[:300]!r}")
        return self

    def question(self, text: str) -> tuple[int, str]:
        """Status, and the address of the run's status."""
        status, body = self.ask("/chat", text=text, client_key=str(uuid.uuid4()))
        found = re.search(r'data-status="([^"]+)"', json.loads(body)["messages"]) if status == 201 else None
        return status, found[1] if found else ""

    def outcome(self, run: str, seconds: float = 90) -> str:
        def ended() -> str:
            status, body = self.ask(run)
            told = json.loads(body) if status == 200 else {"active": True}
            return "" if told["active"] else str(told["status"])

        return str(until(ended, seconds, f"{run} ends"))


def queries(monitoring: Path) -> Iterator[tuple[str, str, str]]:
    """Every query of every panel, with the name of its panel before and its legend behind."""
    for file in sorted((monitoring / "grafana/dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                expression = target["expr"].replace("$__rate_interval", "1m")
                yield f"{file.stem}: {panel['title']}", expression, target["legendFormat"]


def query(prometheus: str, expression: str) -> list[Any]:
    """What an expression says now."""
    answer = get(f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    found: list[Any] = answer["data"]["result"]
    return found


@contextmanager
def emitting(lab: Lab, source: str) -> Iterator[None]:
    """Run *source* beside the application: what it emits with the instruments of metrics.py arrives as any worker's."""
    script = lab.folder / "emit.py"
    script.write_text(source)
    with ExitStack() as stack:
        process = lab.spawn(lab.python, str(script), **lab.environment("emitter", free_port()))
        stack.callback(lab.stop, process)
        yield
