"""What a machine can tell about a page's looks: nothing sticks out, nothing lies on something else, all can be read."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Page

SHOTS = Path(os.environ.get("SCREENSHOTS", Path(__file__).parents[2] / "test-results"))
FINDINGS = Path(__file__).with_name("looks.js").read_text("utf-8")


def looks_right(page: Page, name: str) -> None:
    """Keep a picture, and fail for what sticks out, overlaps, is too faint or too small to hit."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")
    found = page.evaluate(FINDINGS)
    assert not found, f"{name}: " + "; ".join(found)


def note(figure: str) -> None:
    """Keep a measured figure beside the pictures."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    with (SHOTS / "figures.txt").open("a") as file:
        file.write(f"{figure}\n")
