"""``make bench``, or ``make bench ONLY=capacity``: measures, prints the table, keeps it in latest.json."""

from __future__ import annotations

import sys

import pages
import streaming
from harness import Lab, project, report

SCENARIOS = {"pages": pages.pages, "streaming": streaming.costs, "capacity": streaming.capacities}


def main(only: list[str]) -> None:
    if unknown := set(only) - set(SCENARIOS):
        sys.exit(f"no scenario {', '.join(unknown)}; there are: {', '.join(SCENARIOS)}")
    lab = Lab(project())
    for name, scenario in SCENARIOS.items():
        if not only or name in only:
            print(f"{name}:", flush=True)
            report(scenario(lab))


main(sys.argv[1:])
