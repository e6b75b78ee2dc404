"""Every protection that is removed or weakened once, by the line of the checklist."""

from __future__ import annotations

from catalogue_accounts import S8, S10
from catalogue_chat import S11
from catalogue_content import S6, S7, S9
from catalogue_requests import S1, S2, S3, S4, S5
from mutation import Mutation

GROUPS = {
    "S1": S1,
    "S2": S2,
    "S3": S3,
    "S4": S4,
    "S5": S5,
    "S6": S6,
    "S7": S7,
    "S8": S8,
    "S9": S9,
    "S10": S10,
    "S11": S11,
}
ALL = [mutation for group in GROUPS.values() for mutation in group]

__all__ = ["ALL", "GROUPS", "Mutation"]
