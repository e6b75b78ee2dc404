"""Follows the steps of a generated project's docs/extending.md, as a reader would."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

STEP = re.compile(
    r"^(?P<how>New file|Add to the end of|In) `(?P<path>[^`]+)`"
    r"(?:, replace `(?P<old>[^`]+)` by)?:\n\n```\w*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Step:
    section: str
    how: str
    path: str
    old: str | None
    text: str

    def follow(self, project: Path) -> None:
        path = project / self.path
        if self.how == "New file":
            assert not path.exists(), self.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.text, "utf-8")
            return
        before = path.read_text("utf-8")
        if self.how == "In":
            assert self.old, f"what is replaced in {self.path}?"
            assert before.count(self.old) == 1, f"{self.old!r} stands once in {self.path}"
            path.write_text(before.replace(self.old, self.text.rstrip("\n")), "utf-8")
            return
        # Two blank lines before a new definition, as the formatter wants it.
        gap = "\n\n" if path.suffix == ".py" and not self.text.startswith(" ") else "\n" * self.text.startswith(" ")
        path.write_text(before + gap + self.text, "utf-8")


def steps(project: Path) -> list[Step]:
    page = (project / "docs/extending.md").read_text("utf-8")
    found = []
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        title = section.splitlines()[0]
        mine = [
            Step(title, *(match[name] for name in ("how", "path", "old", "text"))) for match in STEP.finditer(section)
        ]
        assert len(mine) == section.count("\n```") // 2, f"every block of {title!r} is a step"
        found += mine
    return found
