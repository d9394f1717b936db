"""What pages need from outside; config connects it once per process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from todoku.bus.connection import Bus
from todoku.credentials.inventory import CredentialBook
from todoku.kernel.clock import Clock
from todoku.kernel.errors import ConfigurationError
from todoku.vault.types import Vault

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver


class OutboxMessage(Protocol):
    """One message that reached the demo's sink."""

    @property
    def number(self) -> int:
        """Its place in the sink, from 0."""
        ...

    @property
    def rcpt_to(self) -> str:
        """The envelope recipient."""
        ...

    @property
    def received_at_utc(self) -> datetime:
        """When the sink took it."""
        ...

    @property
    def raw(self) -> bytes:
        """The message as received."""
        ...


class Outbox(Protocol):
    """Read what the demo's sink received; absent in real installations."""

    def count(self) -> int:
        """Return how many messages the sink accepted."""
        ...

    def newest(self, limit: int, offset: int) -> Sequence[OutboxMessage]:
        """Return messages, newest first."""
        ...

    def get(self, number: int) -> OutboxMessage | None:
        """Return one message, or None when there is no such number."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything a page may ask that is not in the database.

    nats_url: called when the live connection is opened, so that an embedded engine may still be starting.
    open_vault: called once per process, on the thread of `live`. public_url: where people reach the pages.
    transports: names of the ways out besides the usual one. inventory: the credentials, on the bus that it is given.
    resolver: who is asked about DNS, None = the machine's own.
    """

    clock: Clock
    nats_url: Callable[[], str]
    open_vault: Callable[[], Vault]
    public_url: str
    outbox: Outbox | None = None
    transports: tuple[str, ...] = ()
    inventory: Callable[[Bus], CredentialBook] | None = None
    resolver: Resolver | None = None


_connected: list[Ports] = []


def connect(ports: Ports) -> None:
    """Set what this process's pages use; the last call counts."""
    _connected[:] = [ports]


def ports() -> Ports:
    """Return what config connected; raises ConfigurationError when nothing was."""
    if not _connected:
        raise ConfigurationError("web.ports.connect was not called: pages have neither vault nor bus")
    return _connected[0]
