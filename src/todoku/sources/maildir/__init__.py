"""Maildir: mails that a mail server delivers into a folder (qmail, Dovecot, Postfix).

Purpose     import each mail of `new` and `cur`, whoever reads or flags it meanwhile.
Reads       files below one Maildir; `tmp` is never looked at.
Writes      nothing: no mail is moved, flagged or removed.
Guarantees  a mail's key is its unique name without flags (cr.yp.to/proto/maildir.html), so moving it from `new` to
            `cur` and flagging it makes no second mail. What is moved between listing and reading is looked for again.
Limits      subfolders (Maildir++) are sources of their own.
"""

from todoku.sources.maildir.source import MaildirSettings, MaildirSource

__all__ = ["MaildirSettings", "MaildirSource"]
