"""POP3: a mailbox at a server that knows nothing better, fetched from without removing anything (RFC 1939).

Purpose     fetch every mail of a mailbox once, by its UIDL.
Reads       STAT, UIDL, LIST, RETR; CAPA (RFC 2449), STLS (RFC 2595), AUTH (RFC 5034), UTF8 (RFC 6856) where known.
Writes      nothing: DELE is never sent, and neither is QUIT. Without QUIT a session has no UPDATE state (RFC 1939
            section 6), so a server with EXPIRE 0 (RFC 2449 section 6.7) can't remove what was fetched.
Guarantees  - a mail's key is its UIDL and whose mailbox at which server it is. Mails to which the server gives the same
              UIDL or none are told apart by their place among those of the same UIDL, and all of them come again
              whenever these change: that costs duplicates, never a mail, and is logged as `pop3.uidl_not_unique`.
            - byte for byte: added dots are taken away, and so is the line end that POP3 must put after a mail that has
              none, when the size in LIST says so.
            - one command at a time; a session is closed when a look is over or nobody fetched for some seconds, so that
              others can enter a mailbox that lets in one at a time. Such a lock ([IN-USE]) is no refusal.
            - a mail above 64 MB is refused by its size in LIST, or when more than that comes.
Settings    `Pop3Settings`; credentials are passwords, OAuth tokens and client certificates (EXTERNAL).
Limits      POP3 tells nothing by itself: what came is noticed by logging in again every 10 seconds, less often when
            the server asks for it (LOGIN-DELAY). A server without UIDL is refused. Among mails of one UIDL, one that
            goes while another of the same size comes between two looks is not seen.
"""

from todoku.sources.pop3.session import Pop3Settings
from todoku.sources.pop3.source import Pop3Source

__all__ = ["Pop3Settings", "Pop3Source"]
