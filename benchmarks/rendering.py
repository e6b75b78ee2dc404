"""From nothing to an answer: what a user waits for, with warm caches."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import HERE, Figure, Lab

sys.path.insert(0, str(HERE.parent / "tests"))
from projects import Visitor, served

ROUNDS = 5


def rendering(lab: Lab) -> list[Figure]:
    """Seconds of a render, and from the command to the first word of an answer."""
    renders, answers = [], []
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            subprocess.run(
                ["cookiecutter", "--no-input", "--output-dir", folder, str(HERE.parent)],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            renders.append(time.perf_counter() - started)
            with served(Path(folder, "chat-assistant")) as url:
                visitor = Visitor(url)
                visitor.sign_up()
                answers.append(_first_word(visitor) - started)
        print(f"  round {number + 1}: rendered {renders[-1]:.2f} s, first word {answers[-1]:.1f} s", flush=True)
    return [
        Figure("a render, s", statistics.median(renders), "<= 1", ROUNDS, "nothing"),
        Figure("cookiecutter to the first streamed word, s", statistics.median(answers), "<= 30", ROUNDS, "nothing"),
    ]


def _first_word(visitor: Visitor) -> float:
    body = visitor.post("/chat", text="count to 3", client_key="00000000-0000-4000-8000-000000000001")
    stream = visitor.opener.open(visitor.url + re.findall(r'data-events=\\"([^"\\]+)', body)[0])
    for line in stream:
        if line.startswith(b"data:"):
            return time.perf_counter()
    raise RuntimeError("the stream ended without a word")
