"""The torture set: every mail is made by a function, and each says in which state it ends and why."""

from __future__ import annotations

from functools import cache

from tests.torture import headers, japanese, markup, structures
from tests.torture.writing import Case


@cache
def corpus() -> tuple[Case, ...]:
    """Return every case, in a fixed order; names are unique."""
    return tuple(case for module in (japanese, structures, headers, markup) for case in module.cases())
