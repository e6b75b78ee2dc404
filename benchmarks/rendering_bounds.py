"""What the slowest texts and code cost at the bounds of rendering, as a table.

Run in a generated project: PYTHONPATH=src:tests .venv/bin/python .../rendering_bounds.py
"""

import re
import time
from collections.abc import Callable

from test_rendering_bounds import ORDINARY, SHAPES, repeated, slowest_code

from app.security.highlighting import LONGEST, highlight
from app.security.markdown import inert_source, render_markdown

LENGTH = 200_000  # characters: the longest answer that is stored
PARAGRAPH = 900  # characters


def milliseconds(call: Callable[[], object], rounds: int = 3) -> float:
    """The shortest time of some calls, of this thread alone."""
    times = []
    for _ in range(rounds):
        began = time.thread_time()
        call()
        times.append(time.thread_time() - began)
    return min(times) * 1000


def in_paragraphs(text: str) -> str:
    """*text* in paragraphs, each below the bounds of one."""
    line = text.replace("\n", " ")
    return re.sub(f"(.{{{PARAGRAPH}}})", r"\1\n\n", line)[:LENGTH]


def main() -> None:
    texts = {"ordinary text": repeated(ORDINARY, LENGTH)}
    for name, shape in SHAPES.items():
        texts[name] = shape(LENGTH)
        if name.startswith("inline"):
            texts[f"{name} in paragraphs"] = in_paragraphs(shape(LENGTH))
    rows = []
    for name, text in texts.items():
        rendering = milliseconds(lambda: render_markdown(text), rounds=1)  # noqa: B023
        exporting = milliseconds(lambda: inert_source(text), rounds=1)  # noqa: B023
        rows.append((rendering, exporting, name))
    print(f"{LENGTH:,} characters: ms of rendering, ms of making inert")
    for rendering, exporting, name in sorted(rows, reverse=True):
        print(f"{rendering:7.0f} {exporting:7.0f}  {name}")
    print("Code at its bound: ms, characters")
    for language, length in LONGEST.items():
        code = slowest_code(language, length)
        highlight(code, language)  # loads the lexer
        print(f"{milliseconds(lambda: highlight(code, language)):7.1f} {length:7,}  {language}")  # noqa: B023


if __name__ == "__main__":
    main()
