"""The stylesheets, as the browser reads them: it drops what it does not know, without a word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from live import ROOT
from playwright.sync_api import BrowserContext, Page

STYLES = sorted((ROOT / "src/app/static/css").glob("*.css"))
DECLARATION = re.compile(r"([\w-]+)\s*:\s*([^;{}]+)(?=[;}])")
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
NESTED_IN = r"@(font-face|property|counter-style)[^{]*\{[^}]*\}"  # descriptors are no properties


def declarations(css: str) -> list[tuple[str, str]]:
    plain = re.sub(NESTED_IN, "", COMMENT.sub("", css))
    return [(name, value.replace("!important", "").strip()) for name, value in DECLARATION.findall(plain)]


def unknown(page: Page, css: str) -> list[tuple[str, str]]:
    known = page.evaluate("all => all.map(([name, value]) => CSS.supports(name, value))", declarations(css))
    return [each for each, is_known in zip(declarations(css), known, strict=True) if not is_known]


@pytest.mark.parametrize("path", STYLES, ids=lambda path: path.name)
def test_the_browser_knows_every_declaration(context: BrowserContext, path: Path) -> None:
    css, page = path.read_text("utf-8"), context.new_page()
    assert len(declarations(css)) > 10
    assert unknown(page, css) == []
    assert unknown(page, "a { colour: red; color: #12; margin: 1px }") == [("colour", "red"), ("color", "#12")]


def test_every_variable_has_a_value_somewhere() -> None:
    css = "".join(path.read_text("utf-8") for path in STYLES)
    assert set(re.findall(r"var\((--[\w-]+)\)", css)) <= set(re.findall(r"(--[\w-]+)\s*:", css))
