"""How much the door lets in at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from todoku.mail.smtp_dialogue import DialogueLimits


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """Bounds of one door.

    dialogue: of one conversation (35 MB a mail, 100 recipients). max_held_bytes: all mails that are being received or
    kept, together; beyond it a mail is put off by 452. new_connections_per_minute: from one host. idle_seconds: RFC
    5321 section 4.5.3.2.7 asks for 5 minutes. mail_seconds: from DATA to the final dot. stop_seconds: how long `stop`
    waits for mails in hand.
    """

    dialogue: DialogueLimits = field(default_factory=DialogueLimits)
    max_connections: int = 500
    max_connections_per_host: int = 100
    new_connections_per_minute: int = 3_000
    max_held_bytes: int = 256 * 1024 * 1024
    idle_seconds: float = 300.0
    mail_seconds: float = 900.0
    stop_seconds: float = 30.0


class HostCounter:
    """Connections of each host: how many are open, how many were opened in the running minute."""

    def __init__(self, limits: DoorLimits) -> None:
        self._limits = limits
        self._open: dict[str, int] = {}
        self._opened: dict[str, int] = {}
        self._minute = 0

    def enter(self, host: str, now_seconds: float) -> bool:
        """Count a new connection; return False (and count only the attempt) when the host has had enough."""
        minute = int(now_seconds // 60)
        if minute != self._minute:
            self._minute = minute
            self._opened.clear()
        self._opened[host] = self._opened.get(host, 0) + 1
        if self._opened[host] > self._limits.new_connections_per_minute:
            return False
        if self._open.get(host, 0) >= self._limits.max_connections_per_host:
            return False
        self._open[host] = self._open.get(host, 0) + 1
        return True

    def leave(self, host: str) -> None:
        """Count a connection that had entered as closed."""
        left = self._open.get(host, 0) - 1
        if left > 0:
            self._open[host] = left
        else:
            self._open.pop(host, None)
