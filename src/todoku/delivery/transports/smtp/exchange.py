"""What the two ways to hand messages over (DATA, BDAT) have in common: whom they talk to, and what they promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from todoku.delivery.transports.smtp.job import Job

LONG_MESSAGE_BYTES = 256 * 1024  # from here on a message's end is written only when the rest has left


@dataclass(slots=True)
class Trust:
    """What all connections to one relay know of its CHUNKING. broken: why it is not used any more."""

    proven: bool = False
    broken: str = ""
    told: bool = False  # in the log


class JobSource(Protocol):
    """Where messages come from, and where go back those that were certainly not accepted."""

    def next_job(self) -> Job | None:
        """Return the next message to open, None when there is none."""
        ...

    def share(self) -> int:
        """Return how many messages one connection should take now, so that all connections have work; >= 1."""
        ...

    def put_back(self, job: Job, why: str, *, counts: bool = True) -> None:
        """Take back a message that was certainly not accepted, to go over another connection.

        counts: whether the message may be to blame; less so when the connection accepted others before, so that a
        relay that takes a few messages a connection is served.
        """
        ...

    def take_back(self, job: Job, why: str) -> None:
        """Answer every waiting message of this message's handover: the caller forbade it."""
        ...


class Wire(Protocol):
    """What an exchange writes to."""

    def write(self, data: bytes) -> None:
        """Send the octets, now or as soon as the peer takes them."""
        ...

    @property
    def clogged(self) -> bool:
        """Tell whether much of what was written still waits; `Exchange.unclogged` is called when it has left."""
        ...

    def abort(self, why: str) -> None:
        """Cut the connection off."""
        ...


class Exchange(Protocol):
    """Hands messages over on one connection whose first words are done. Each message gets exactly one answer."""

    @property
    def busy(self) -> bool:
        """Tell whether an answer is due."""
        ...

    @property
    def at_the_end(self) -> bool:
        """Tell whether the answer that is due is the one to the end of a message."""
        ...

    def wake(self) -> None:
        """Take messages from the source, if there is room."""
        ...

    def received(self, data: bytes) -> None:
        """Read replies; raises BrokenReply."""
        ...

    def unclogged(self) -> None:
        """Go on writing."""
        ...

    def lost(self, why: str) -> None:
        """Answer or put back every message that is on the wire: nothing more will come."""
        ...
