"""Good and bad answers at once, on two workers: each ends as it has to."""

from __future__ import annotations

from pathlib import Path

from engines import Services
from soak import Plan, soak


def test_good_and_bad_answers_at_once_each_end_as_they_have_to(tmp_path: Path, services: Services) -> None:
    services.prepare(tmp_path)
    # Always the same answers, so that a failure is due to what was changed.
    plan = Plan(answers=60, at_once=10, seed=1, silence=4)
    assert soak(plan, tmp_path, services.environment) == []
