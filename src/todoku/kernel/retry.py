"""Exponential back-off with full jitter, computed without a clock."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long to wait before attempt n: a random share of min(cap, base * 2**n).

    Full jitter, because a fixed schedule brings a whole deferred queue back at one moment
    (Postfix QSHAPE_README; facts in docs/decisions).
    """

    base_seconds: float = 0.5
    cap_seconds: float = 60.0

    def wait_seconds(self, attempt: int, *, randomness: random.Random | None = None) -> float:
        """Return seconds to wait before the given attempt (0 = the first retry)."""
        ceiling = min(self.cap_seconds, self.base_seconds * 2 ** min(attempt, 32))
        source = randomness if randomness is not None else random
        return source.uniform(ceiling / 2, ceiling)  # half at least: a retry at once would be a stampede
