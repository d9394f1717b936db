"""The dialogue as the door holds it: bounded in commands, and clear about a second STARTTLS."""

from __future__ import annotations

from typing import Final

from todoku.mail import smtp_replies as say
from todoku.mail.smtp_dialogue import DialogueLimits, Policy, ServerDialogue
from todoku.mail.smtp_login import Security

_TOO_MANY_COMMANDS: Final = say.make_reply(421, "4.7.0", "enough commands for one connection, come again")


class DoorDialogue(ServerDialogue):
    """One conversation with a client.

    max_commands: lines of any kind, then 421; None: any number. starttls: offer it. A STARTTLS under
    TLS is answered by 503, because the command is known and only out of place (RFC 5321 section 4.2.3).
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

    @property
    def in_data(self) -> bool:
        """Tell whether the text after DATA is being received; between chunks of BDAT a command is awaited."""
        return self._dotted is not None

    def _command(self, line: bytes) -> None:
        self._commands += 1
        if self.max_commands is not None and self._commands > self.max_commands:
            self._close(_TOO_MANY_COMMANDS)
        else:
            super()._command(line)

    def _begin_tls(self, argument: bytes) -> None:
        if self._encrypted:
            self._say(say.WRONG_ORDER)
        else:
            super()._begin_tls(argument)
