"""SMTP: hand messages to a relay over pipelined connections.

Purpose     keep a relay busy at about 25 µs of CPU a message, and know exactly which message got which answer.
Reads       nothing.
Writes      the relay.
Guarantees  `about_to_complete` before the end of a message is written; a connection lost before it never counts as
            handed over, one lost after it is UNKNOWN, never anything better.
Settings    TODOKU_RELAY_URL = smtp://host:port
Known limits  no STARTTLS, no AUTH, one recipient a message.
"""

from todoku.delivery.transports.smtp.connection import TimeLimits
from todoku.delivery.transports.smtp.pool import SmtpTransport

__all__ = ["SmtpTransport", "TimeLimits"]
