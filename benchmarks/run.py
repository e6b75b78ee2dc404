"""``make bench``, or ``make bench ONLY=capacity``: measures, prints the table, keeps it in latest.json."""

from __future__ import annotations

import sys

import growth
import pages
import rendering
import streaming
from harness import Lab, project, report

SCENARIOS = {
    "rendering": rendering.rendering,
    "starting": growth.starting,
    "pages": pages.pages,
    "observability": pages.observability,
    "first-word": streaming.first_word,
    "streaming": streaming.costs,
    "provider": streaming.provider,
    "cap": growth.cap,
    "waiting": growth.waiting,
    "conversations": growth.conversations,
    "memory": growth.memory,
    "capacity": streaming.capacities,
}


def main(only: list[str]) -> None:
    if unknown := set(only) - set(SCENARIOS):
        sys.exit(f"no scenario {', '.join(unknown)}; there are: {', '.join(SCENARIOS)}")
    lab = Lab(project())
    for name, scenario in SCENARIOS.items():
        if not only or name in only:
            print(f"{name}:", flush=True)
            report(scenario(lab))


main(sys.argv[1:])
