"""SMTP: hand messages to a relay over pipelined connections, several messages in a write where it offers CHUNKING.

Purpose     keep a relay busy at about 10 µs of CPU a message, and know exactly which message got which answer.
Reads       the CA file of a relay whose certificate is not signed by a public authority.
Writes      the relay.
Guarantees  `about_to_complete` before the end of a message is written; a connection lost before it never counts as
            handed over, one lost after it is UNKNOWN, never anything better. Not more than connections x depth
            messages are in flight. Secrets go over TLS or loopback only, and into no log. A certificate that is not
            valid is a failed relay, never a reason to go on in clear.
Settings    TODOKU_RELAY_URL = smtp://user:secret@host:587?tls=required|opportunistic|off&ca=FILE&connections=10
            &depth=8&chunking=auto|off&auth=auto|plain|login|xoauth2&max_bytes=0, or smtps://host:465
Known limits  one recipient a message; XOAUTH2 tokens are not renewed here.
"""

from todoku.delivery.transports.smtp.connection import TimeLimits
from todoku.delivery.transports.smtp.offers import EnhancedStatus, status_of
from todoku.delivery.transports.smtp.pool import SmtpTransport
from todoku.delivery.transports.smtp.relay import Relay, read_relay_url

__all__ = ["EnhancedStatus", "Relay", "SmtpTransport", "TimeLimits", "read_relay_url", "status_of"]
