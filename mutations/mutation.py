"""One protection that is removed or weakened, and the tests that have to notice it."""

from __future__ import annotations

from typing import NamedTuple

from changes import Change
from places import Place


class Mutation(NamedTuple):
    id: str
    path: str  # below src/app of a generated project
    find: Place
    change: Change
    tests: str  # a file of the generated tests, and options of pytest

    def mutate(self, source: bytes) -> bytes:
        """The source of *path* with the change.

        Raises:
            PlaceError: when the place is not there exactly once.
        """
        return self.change(self.find.find(source))
