"""IMAP: a folder at a mail server, looked at without changing anything in it (RFC 9051, RFC 3501).

Purpose     fetch every mail of one folder, whoever reads, flags, moves or removes mails there meanwhile.
Reads       one folder, opened with EXAMINE; mails with BODY.PEEK[]; RFC 2177 IDLE tells when something came.
Writes      nothing at the server: no flag, no mail, no subscription.
Guarantees  - a mail's key is UIDVALIDITY, UID and whose which folder it is. When a server numbers its folder anew, all
              mails have new keys and come again; the reader sees the same bytes and counts them as duplicates.
            - unread flags and positions play no part. UIDs that a server gives twice are never mixed: such a mail is
              said not to be fetchable, and the next one comes.
            - at most 64 MB of a mail are in memory; a larger one is refused before its first byte is read. A folder is
              listed as it streams in: some 100 bytes for each mail stay until the end of the listing.
            - what breaks, drips, lies or says nothing costs one connection: a mail is tried again on a connection of
              its own, and only a server that can't be reached at all ends a look.
            - nothing that a setting, a name or a password holds can begin a second command; bytes sent in clear before
              TLS begins end the connection; LOGINDISABLED is obeyed.
Settings    `ImapSettings`; credentials are passwords, OAuth tokens (OAUTHBEARER, XOAUTH2) and client certificates
            (EXTERNAL).
Limits      one folder is one source. Keys begin anew when host, user or folder is written otherwise: that costs
            duplicates, never a mail. Servers without PLAIN, LOGIN, OAUTHBEARER, XOAUTH2 or EXTERNAL are not served.
"""

from todoku.sources.imap.login import ImapSettings
from todoku.sources.imap.source import ImapSource

__all__ = ["ImapSettings", "ImapSource"]
