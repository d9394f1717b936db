"""The dialogue as the door holds it: bounded in commands."""

from __future__ import annotations

from typing import Final

from todoku.mail import smtp_replies as say
from todoku.mail.smtp_dialogue import DialogueLimits, Policy, ServerDialogue
from todoku.mail.smtp_login import Security

_TOO_MANY_COMMANDS: Final = say.make_reply(421, "4.7.0", "enough commands for one connection, come again")


class DoorDialogue(ServerDialogue):
    """One conversation with a client.

    max_commands: lines of any kind, then 421; None: any number. starttls: offer it.
    """

    def __init__(
        self,
        limits: DialogueLimits,
        hostname: str,
        policy: Policy,
        *,
        lmtp: bool,
        starttls: bool,
    ) -> None:
        super().__init__(limits, hostname, policy, lmtp=lmtp, security=Security(starttls=starttls))
        self.max_commands: int | None = None
        self._commands = 0

    def refuse_command(self, line: bytes) -> bytes | None:
        """Count it, and say 421 when it is one too many."""
        self._commands += 1
        too_many = self.max_commands is not None and self._commands > self.max_commands
        return _TOO_MANY_COMMANDS if too_many else None
