"""The generated project on a Docker host, as its own documents say: built, set up, released, used."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import lab
from parts.docker_host import DockerHost

APP = "chat-assistant"
PORTS = {"HTTP_PORT": "8080", "HTTPS_PORT": "8443"}
URL = "https://localhost:8443"
PEOPLE = 20  # at most three streams each when there are 50: an account may ask 30 times a minute
PASSWORD = "correct horse battery"  # of accounts that live as long as a drill
ACCOUNTS = f"""
import json, secrets, sys
from wsgi import app
from app.accounts.models import User
from app.database import new_id, now, transaction
from flask_security import hash_password
with app.app_context(), transaction() as session:
    for number in range({PEOPLE}):
        user = User(id=new_id(), email=f"p{{number}}@example.com", password=hash_password("{PASSWORD}"))
        user.fs_uniquifier, user.confirmed_at = secrets.token_hex(16), now()
        session.add(user)
"""


class Site:
    """One project on one host, reached at https://localhost:8443."""

    def __init__(self, host: DockerHost):
        self.host, self.project = host, lab.project()
        self.stand_ins = host.provide(self.project)
        self.deploy = self.project / "deploy"
        self.environment = host.environment | PORTS

    def build(self, version: str, *arguments: str) -> float:
        """Build the project's image; how many seconds that took."""
        started = time.monotonic()
        told = ["--build-arg", f"VERSION={version}", *arguments]
        self.host.docker("build", "--network", "host", *told, "--tag", f"{APP}:{version}", str(self.project))
        return time.monotonic() - started

    def variant(self, version: str, base: str, files: dict[str, str]) -> None:
        """An image that differs from another by what is appended to some files; cheap."""
        folder = lab.WORK / f"variant-{version}"
        folder.mkdir()
        lines = [f"FROM {APP}:{base}", "USER root"]
        for number, (name, text) in enumerate(files.items()):
            (folder / str(number)).write_text(text)
            parent, _, leaf = name.rpartition("/")  # a shell expands no pattern behind >>
            append = f'for place in {parent}; do cat /tmp/more >> "$place/{leaf}" || exit 1; done'
            lines += [f"COPY {number} /tmp/more", f"RUN {append}; rm /tmp/more"]
        lines += ["USER 10001:10001", f"LABEL org.opencontainers.image.version={version}"]
        (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
        self.host.docker("build", "--tag", f"{APP}:{version}", str(folder))

    def forget(self) -> None:
        """Remove settings, secrets and state of an earlier deployment."""
        for name in ("secrets", "state"):
            shutil.rmtree(self.deploy / name, ignore_errors=True)
        for name in (".env", "app.env"):
            (self.deploy / name).unlink(missing_ok=True)

    def set_up(self, pace: float = 0.1) -> None:
        """``deploy/setup``, a provider, settings for it."""
        self.forget()
        subprocess.run([str(self.deploy / "setup"), "localhost"], check=True, stdout=subprocess.DEVNULL)
        (self.deploy / "secrets/app/mail_url").write_text("smtp://127.0.0.1:25\n")
        (self.deploy / "secrets/app/openai_api_key").write_text("none\n")
        (self.deploy / "secrets/app/openai_api_key").chmod(0o644)
        with (self.deploy / "app.env").open("a") as settings:
            settings.write(
                "MODEL=openai-chat:counting\nOPENAI_BASE_URL=http://provider:8001/v1\nTRUST_TRACEPARENT=true\n"
            )
        counting = lab.HERE / "parts/counting.py"
        version = re.findall(r"ARG PYTHON_VERSION=(\S+)", (self.project / "Dockerfile").read_text())[0]
        mount = ["--volume", f"{counting}:/counting.py:ro", "--network", f"{APP}_outside"]
        self.compose("up", "--no-start", "caddy")  # makes the networks
        program = ["python3", "/counting.py", "8001", str(pace)]
        self.host.docker("run", "--detach", "--name", "provider", *mount, f"python:{version}-slim", *program)

    def compose(self, *arguments: str, **more: object) -> str:
        done = self.try_compose(*arguments, **more)
        if done.returncode:
            raise SystemExit(f"compose {' '.join(arguments)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done.stdout

    def try_compose(self, *arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
        command = ["docker", "compose", "--progress", "quiet", "--file", str(self.deploy / "compose.yaml"), *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, **more)

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """``deploy/release``, ``deploy/rollback`` or ``deploy/backup``."""
        done = subprocess.run(
            [str(self.deploy / script), *arguments],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with (lab.WORK / "releases.log").open("a") as log:
            log.write(f"$ {script} {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n")
        return done

    @property
    def live(self) -> str:
        return (self.deploy / "state/live").read_text()

    def version_of(self, colour: str) -> str:
        image = self.compose("ps", "--quiet", "--status", "running", colour).strip()
        label = '{{index .Config.Labels "org.opencontainers.image.version"}}'
        return self.host.docker("inspect", "--format", label, image).strip()

    def authority(self) -> Path:
        """The certificate of Caddy's own authority, which it uses for localhost."""
        path = lab.WORK / "ca.pem"
        path.write_text(self.compose("exec", "-T", "caddy", "cat", "/data/caddy/pki/authorities/local/root.crt"))
        return path

    def accounts(self) -> None:
        """People p0@example.com and so on, who have confirmed their addresses."""
        self.compose("exec", "-T", self.live, "python", "-", input=ACCOUNTS)

    def people(self, streams: int, rate: float, words: int) -> tuple[subprocess.Popen[bytes], Path]:
        """Accounts, and a process of people who use them; it writes what they were told into a book."""
        self.accounts()
        accounts, book = lab.WORK / "accounts.json", lab.WORK / "book.jsonl"
        accounts.write_text(json.dumps([[f"p{number}@example.com", PASSWORD] for number in range(PEOPLE)]))
        told = [URL, str(self.authority()), str(accounts), str(book), str(streams), str(rate), str(words)]
        return lab.spawn(sys.executable, str(lab.HERE / "parts/ledger.py"), *told, log="ledger.log"), book


def entries(book: Path) -> list[dict]:
    """What the book says so far."""
    if not book.exists():
        return []
    return [json.loads(line) for line in book.read_text().splitlines() if line.endswith("}")]


def revision_after(project: Path) -> tuple[str, str]:
    """The newest revision of the schema, and an id for one after it."""
    newest = max(re.findall(r"\d+", path.name)[0] for path in (project / "src/app/migrations").glob("[0-9]*.py"))
    return newest, str(int(newest) + 1)
