"""The numbers of the protocol, and what it takes from outside."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from todoku.bus.connection import Bus
from todoku.delivery.engine.gate import RelayGate
from todoku.delivery.engine.local_answers import AnswerStore
from todoku.delivery.engine.pace import Paces
from todoku.delivery.engine.runs import RunBook, StopBook
from todoku.delivery.types import Signer, Transport
from todoku.kernel.clock import Clock
from todoku.kernel.ids import new_id
from todoku.kernel.retry import BackOff

_RETRY_WAIT = BackOff(base_seconds=0.5, cap_seconds=5.0)
_DEFERRAL_WAIT = BackOff(base_seconds=30.0, cap_seconds=900.0)
_RELAY_WAIT = BackOff(base_seconds=1.0, cap_seconds=60.0)

SignerOf = Callable[[str], Signer | None]
"""The signer for a sender address, None when its messages go out unsigned."""


@dataclass(frozen=True, slots=True)
class SenderOptions:
    """How a sender works.

    window: messages between two journal lines, at most 100; fewer while many runs send. batches_at_once: so many
    batches overlap on one way out, so that the wire is busy while one of them waits for the journal. visits_at_once:
    most batches in memory; more runs than that take turns window by window. arm_seconds: so long before its due time a
    run is made ready, with a first window of so many messages (first_window). lease_seconds: a batch of a sender that
    is silent for so long goes to another. immediate_retries: so many temporary answers are asked again after
    retry_wait, all others after deferral_wait. transport_paces, domain_paces: messages a second by name of the
    transport and by domain of the recipients (lower case), over all senders together.
    eight_bit: send UTF-8 as it is where the relay offers 8BITMIME (RFC 6152); switch it off where mail is signed
    before a hop that may rewrite it. sender_id: unique to the process, made up when empty.
    """

    window: int = 100
    batches_at_once: int = 4
    visits_at_once: int = 400
    arm_seconds: float = 30.0
    first_window: int = 20
    lease_seconds: float = 30.0
    immediate_retries: int = 2
    retry_wait: BackOff = _RETRY_WAIT
    deferral_wait: BackOff = _DEFERRAL_WAIT
    relay_wait: BackOff = _RELAY_WAIT
    eight_bit: bool = True
    transport_paces: Mapping[str, float] = field(default_factory=dict)
    domain_paces: Mapping[str, float] = field(default_factory=dict)
    sender_id: str = field(default_factory=lambda: new_id().hex)
    randomness: random.Random = field(default_factory=random.Random)


def unsigned(_sender_address: str) -> Signer | None:
    """Sign nothing."""
    return None


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything that a visit to a batch touches outside itself.

    transports: by name, "" is the default. gates: one for each transport. line_numbers: never the same twice in a
    process.
    """

    bus: Bus
    transports: Mapping[str, Transport]
    clock: Clock
    answers: AnswerStore
    runs: RunBook
    stops: StopBook
    gates: Mapping[str, RelayGate]
    paces: Paces
    options: SenderOptions
    signer_of: SignerOf = unsigned
    line_numbers: Iterator[int] = field(default_factory=count)
