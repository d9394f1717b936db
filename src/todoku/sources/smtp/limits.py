"""How much the door lets in at once, and from whom."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final

from todoku.mail.smtp_dialogue import DialogueLimits

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Who can take more addresses than this is stopped by `max_connections` alone; each costs about 300 bytes.
MAX_CLIENTS: Final = 50_000


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """Bounds of one door. Whoever meets one is told 421 or 452: an honest sender keeps the mail and comes again.

    dialogue: of one conversation (35 MB a mail, 100 recipients). max_held_bytes: all mails that are being received or
    kept, together; beyond it a mail is put off by 452.

    A *client* is one IPv4 address or one IPv6 /64, because a /64 is what one customer is given (RFC 6177).
    new_connections_per_minute: how fast a client may connect in the long run; new_connections_burst: at once.
    max_mails_per_connection, max_commands_per_connection: then it has to connect anew.
    trusted_networks: the mail servers in front; the counts and the pace above do not hold for them, sizes and times do.

    handshake_seconds: of TLS. idle_seconds: for the next command (RFC 5321 section 4.5.3.2.7 asks for 5 minutes).
    data_seconds: for the next octet of a mail (section 4.5.3.2.5: 3 minutes). transaction_seconds: from the greeting,
    or the last mail, to the end of the next one, so that who drips octets can't hold a place for ever; 35 MB in it is
    20 kB a second. stop_seconds: how long `stop` waits for mails in hand.
    """

    dialogue: DialogueLimits = field(default_factory=DialogueLimits)
    max_connections: int = 500
    max_connections_per_host: int = 100
    new_connections_per_minute: int = 3_000
    new_connections_burst: int = 300
    max_mails_per_connection: int = 1_000
    max_commands_per_connection: int = 100_000
    max_held_bytes: int = 256 * 1024 * 1024
    handshake_seconds: float = 60.0
    idle_seconds: float = 300.0
    data_seconds: float = 180.0
    transaction_seconds: float = 1_800.0
    stop_seconds: float = 30.0
    trusted_networks: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Client:
    """Who knocks. key: what is counted together; peer: the address as it came, for the log."""

    peer: str
    key: str
    trusted: bool


def identify(peer: str, trusted_networks: tuple[Network, ...]) -> Client:
    """Return who it is. peer: an IP address, or any word for a socket without one (that is never trusted)."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return Client(peer, peer, trusted=False)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # a socket for both families shows IPv4 clients so
    trusted = any(address in network for network in trusted_networks)
    if isinstance(address, ipaddress.IPv6Address):
        return Client(peer, str(ipaddress.ip_network((address, 64), strict=False)), trusted=trusted)
    return Client(peer, str(address), trusted=trusted)


@dataclass(slots=True)
class _Account:
    """What is known of one client. tokens: connections that it may open now, as of at_seconds."""

    open: int
    tokens: float
    at_seconds: float


class ClientCounter:
    """Connections of each client: how many are open, and a bucket of tokens for new ones. Pure; memory is bounded."""

    def __init__(self, limits: DoorLimits) -> None:
        self._limits = limits
        self._accounts: dict[str, _Account] = {}

    def __len__(self) -> int:
        return len(self._accounts)

    def enter(self, key: str, now_seconds: float) -> bool:
        """Count a new connection; return False, and count nothing, when the client has to wait."""
        account = self._accounts.pop(key, None) or _Account(0, self._limits.new_connections_burst, now_seconds)
        self._accounts[key] = account  # at the end: who came last is forgotten last
        self._forget_strangers()
        rate = self._limits.new_connections_per_minute / 60.0
        passed = max(0.0, now_seconds - account.at_seconds)
        account.tokens = min(self._limits.new_connections_burst, account.tokens + passed * rate)
        account.at_seconds = now_seconds
        if account.tokens < 1.0 or account.open >= self._limits.max_connections_per_host:
            return False
        account.tokens -= 1.0
        account.open += 1
        return True

    def leave(self, key: str) -> None:
        """Count a connection that had entered as closed."""
        account = self._accounts.get(key)
        if account is not None and account.open > 0:
            account.open -= 1

    def _forget_strangers(self) -> None:
        """Forget who came longest ago and has nothing open; at most `max_connections` have something open."""
        if len(self._accounts) <= MAX_CLIENTS:
            return
        for key, account in self._accounts.items():
            if account.open == 0:
                del self._accounts[key]
                return
