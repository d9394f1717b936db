"""Whether a relay is used, as its last answers say: closed (used), open (passed over), due (one message may try)."""

from __future__ import annotations

from enum import StrEnum

from todoku.kernel.retry import BackOff


class CircuitState(StrEnum):
    """What may go through a circuit."""

    CLOSED = "closed"
    OPEN = "open"
    DUE = "due"


class Circuit:
    """The circuit of one relay. One probe at a time; the waits between probes double."""

    def __init__(self, wait: BackOff) -> None:
        """Begin closed."""
        self._wait = wait
        self._failures = 0
        self._due_at_seconds = 0.0
        self._probing = False

    def state(self, now_seconds: float) -> CircuitState:
        """Return what may go through at this moment of the monotonic clock."""
        if not self._failures:
            return CircuitState.CLOSED
        return CircuitState.DUE if not self._probing and now_seconds >= self._due_at_seconds else CircuitState.OPEN

    def begin_probe(self) -> None:
        """Let one message through; nobody else probes until it is answered."""
        self._probing = True

    def succeeded(self) -> bool:
        """Close the circuit; returns whether it was open."""
        was_open = self._failures > 0
        self._failures, self._probing = 0, False
        return was_open

    def failed(self, now_seconds: float) -> bool:
        """Open the circuit until the next probe is due; returns whether it was closed."""
        was_closed = self._failures == 0
        if was_closed or self._probing or now_seconds >= self._due_at_seconds:  # calls that failed together count once
            self._due_at_seconds = now_seconds + self._wait.wait_seconds(self._failures)
            self._failures += 1
        self._probing = False
        return was_closed

    def nothing_learnt(self) -> None:
        """End a probe that was taken back before the relay saw it."""
        self._probing = False
