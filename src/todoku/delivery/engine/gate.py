"""The gate before a way out: closed while the relay itself can't be talked to, so that nothing is tried in vain."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from todoku.delivery.types import Answer
from todoku.kernel.retry import BackOff

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class RelayGate:
    """Whether a way out can be talked to, as the last answers say; shared by all batches of a sender."""

    name: str
    wait: BackOff
    randomness: random.Random
    failures: int = 0
    closed_until_seconds: float = 0.0  # monotonic
    last_answer: str = ""

    def judge(self, answers: Sequence[Answer], now_seconds: float) -> bool:
        """Close when the relay itself failed for a whole window, open when anything was answered; tell if closed."""
        if not all(answer.relay_failed for answer in answers):
            if self.failures:
                log.info("delivery.relay_back", transport=self.name, failures=self.failures)
            self.failures, self.closed_until_seconds = 0, 0.0
            return False
        wait_seconds = self.wait.wait_seconds(self.failures, randomness=self.randomness)
        self.failures += 1
        self.closed_until_seconds = now_seconds + wait_seconds
        self.last_answer = answers[0].text
        log.error(
            "delivery.relay_unreachable",
            transport=self.name,
            why=self.last_answer,
            kept="every message waits in its batch; its run is late, nothing is lost",
            todo="start the relay, or correct TODOKU_RELAY_URL or TODOKU_TRANSPORTS",
            again_in_seconds=round(wait_seconds, 1),
        )
        return True
