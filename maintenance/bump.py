"""Move everything the template pins to its newest release: bounds, tested versions, actions, images.

``bump.py [bounds] [versions] [actions] [images]``, all without an argument. What cannot be reached is said, the rest is
done, and the exit status is 1. Look at the difference, then prove it: ``make bump`` runs the tests afterwards.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "{{cookiecutter.project_slug}}"
TESTED = PROJECT / "tested-versions.txt"
REQUIREMENT = re.compile(r'"(?P<name>[A-Za-z0-9._-]+)(?P<extras>\[[^\]]*\])?>=(?P<low>[0-9.]+),<(?P<high>[0-9.]+)"')
ACTION = re.compile(
    r"uses: (?P<repo>[\w.-]+/[\w.-]+)(?P<path>(?:/[\w./-]+)?)@(?P<sha>[0-9a-f]{40}) # (?P<tag>v[0-9.]+)"
)
IMAGE = re.compile(
    r"(?:image: |FROM )(?:docker\.io/)?(?P<name>[a-z][\w./-]*):(?P<tag>v?[0-9][\w.]*)(?P<kind>-[\w.-]+)?"
)


class UnreachableError(Exception):
    """What was to be asked did not answer."""


def upper_bound(version: str, old: str) -> str:
    """The bound above *version* that is as wide as *old* was: ``2.2`` after 2.1, ``3`` after 2."""
    parts = version.split(".")[: len(old.split("."))]
    return ".".join([*parts[:-1], str(int(parts[-1]) + 1)])


def moved(requirement: re.Match[str], version: str) -> str:
    width = max(version.count("."), requirement["low"].count(".")) + 1
    newer = (*_key(version), *[0] * width)[:width] > (*_key(requirement["low"]), *[0] * width)[:width]
    low = version if newer else requirement["low"]
    return f'"{requirement["name"]}{requirement["extras"] or ""}>={low},<{upper_bound(low, requirement["high"])}"'


def _key(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def providers() -> list[str]:
    """Every extra that the question for the provider can choose."""
    defaults = json.loads((ROOT / "cookiecutter.json").read_text("utf-8"))
    return [name for name in defaults["llm_provider"] if name != "openai-compatible"]


def overrides() -> str:
    """The project's own word on packages whose metadata pins too much, as uv's settings take it."""
    found = re.findall(
        r"^\[\[tool\.uv\.dependency-metadata\]\]\n(?:.+\n)+",
        (PROJECT / "pyproject.toml").read_text("utf-8"),
        re.MULTILINE,
    )
    return "".join(found).replace("tool.uv.", "")


def compiled(requirements: list[str]) -> dict[str, str]:
    """What the resolver chooses for *requirements* on every supported Python, by package."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "requirements.in")
        source.write_text("\n".join(requirements), "utf-8")
        settings = Path(folder, "uv.toml")
        settings.write_text(overrides(), "utf-8")
        process = subprocess.run(
            ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--no-annotate",
             "--no-header", "--no-emit-index-url", "--config-file", str(settings), str(source)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if process.returncode:
        raise UnreachableError(f"the resolver said: {process.stderr.strip()}")
    lines = [line for line in process.stdout.splitlines() if "==" in line]
    return {re.split(r"[\[=]", line)[0]: line for line in lines}


def declared(path: Path) -> list[re.Match[str]]:
    text = path.read_text("utf-8")
    return list(REQUIREMENT.finditer(text.replace("{{ cookiecutter.__extra }}", ",".join(providers()))))


def bounds() -> Iterator[str]:
    """Lower bounds become the newest release, upper bounds stay as wide as they were."""
    for path in (ROOT / "pyproject.toml", PROJECT / "pyproject.toml"):
        newest = compiled([f"{found['name']}{found['extras'] or ''}" for found in declared(path)])

        def replace(found: re.Match[str], newest: dict[str, str] = newest) -> str:
            return moved(found, newest[found["name"].lower()].split("==")[1].split(" ")[0])

        yield from rewrite(path, REQUIREMENT, replace)


def versions() -> Iterator[str]:
    """The set of versions a generated project can fall back to, with every provider's SDK; no addresses in it."""
    lines = sorted(compiled([found[0].strip('"') for found in declared(PROJECT / "pyproject.toml")]).values())
    header = "# The versions the template was tested with, without addresses; `make tested` locks them.\n"
    text = header + "\n".join(lines) + "\n"
    if not TESTED.exists() or TESTED.read_text("utf-8") != text:
        TESTED.write_text(text, "utf-8")
        yield f"{TESTED.name}: {len(lines)} packages"


def actions() -> Iterator[str]:
    """The newest tag of each action, by its commit id."""
    files = [path for folder in (ROOT, PROJECT) for path in (folder / ".github/workflows").glob("*.yml")]
    newest: dict[str, tuple[str, str]] = {}
    for path in files:
        for found in ACTION.finditer(path.read_text("utf-8")):
            if found["repo"] not in newest:
                newest[found["repo"]] = newest_tag(found["repo"])

        def replace(found: re.Match[str]) -> str:
            tag, sha = newest[found["repo"]]
            return f"uses: {found['repo']}{found['path']}@{sha} # {tag}"

        yield from rewrite(path, ACTION, replace)


def newest_tag(repository: str) -> tuple[str, str]:
    process = subprocess.run(
        ["git", "ls-remote", "--tags", f"https://github.com/{repository}"],
        capture_output=True, text=True, check=False, env=os.environ | {"GIT_TERMINAL_PROMPT": "0"},
    )  # fmt: skip
    if process.returncode:
        raise UnreachableError(f"github.com/{repository}: {process.stderr.strip()}")
    tags = dict(re.findall(r"^([0-9a-f]{40})\trefs/tags/(v\d+\.\d+\.\d+)$", process.stdout, re.MULTILINE))
    peeled = dict(re.findall(r"^([0-9a-f]{40})\trefs/tags/(v\d+\.\d+\.\d+)\^\{\}$", process.stdout, re.MULTILINE))
    by_tag = {tag: sha for sha, tag in (tags | peeled).items()}
    tag = max(by_tag, key=_key)
    return tag, by_tag[tag]


def images() -> Iterator[str]:
    """The newest tag of the same kind (``18-alpine`` after ``17-alpine``) of each image that is pulled."""
    files = [PROJECT / "Dockerfile", *PROJECT.rglob("compose*.yaml"), *PROJECT.glob("deploy/**/*.yaml")]
    for path in filter(Path.is_file, files):
        yield from rewrite(path, IMAGE, newest_image)


def newest_image(found: re.Match[str]) -> str:
    name = found["name"] if "/" in found["name"] else f"library/{found['name']}"
    try:
        asked = f"https://auth.docker.io/token?service=registry.docker.io&scope=repository:{name}:pull"
        token = json.load(urllib.request.urlopen(asked, timeout=20))["token"]
        request = urllib.request.Request(f"https://registry-1.docker.io/v2/{name}/tags/list")
        request.add_header("Authorization", f"Bearer {token}")
        tags = json.load(urllib.request.urlopen(request, timeout=20))["tags"]
    except OSError as error:
        raise UnreachableError(f"docker.io/{name}: {error}") from error
    alike = re.compile(re.sub(r"\d+", r"\\d+", re.escape(found["tag"])) + re.escape(found["kind"] or "") + "$")
    newest = max((tag for tag in tags if alike.match(tag)), key=_key)
    return found[0].replace(f"{found['tag']}{found['kind'] or ''}", newest)


def rewrite(path: Path, pattern: re.Pattern[str], replace: Callable[[re.Match[str]], str]) -> Iterator[str]:
    old = path.read_text("utf-8")
    new = pattern.sub(replace, old)
    path.write_text(new, "utf-8")
    changed = [pair for pair in zip(old.splitlines(), new.splitlines(), strict=True) if pair[0] != pair[1]]
    yield from (f"{path.relative_to(ROOT)}: {before.strip()} -> {after.strip()}" for before, after in changed)


PARTS = {"bounds": bounds, "versions": versions, "actions": actions, "images": images}


def main(names: list[str]) -> int:
    failed = 0
    for name in names or list(PARTS):
        try:
            changes = list(PARTS[name]())
        except UnreachableError as error:
            failed = 1
            print(f"{name}: not moved; {error}")
        else:
            print(f"{name}: {len(changes)} changed", *changes, sep="\n  ")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
