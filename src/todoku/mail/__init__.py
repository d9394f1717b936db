"""Mail: bytes to a decoded mail, and the other way round.

Purpose   read any mail that arrives, Japanese first; compose the mails that leave, and sign them (DKIM).
Reads     bytes.
Writes    nothing.
Guarantees   pure functions: no clock, no network, no state. Any bytes end in a ParsedMail or in a subclass of
          mail.errors.Unreadable, in time linear in their number. A lost character is counted in lossy_characters, a
          repair is named in defects, names are never changed for display.
Settings  structure.Limits: bytes, header bytes, parts, depth of one mail.
Known limits   winmail.dat (TNEF), S/MIME and PGP are handed on as attachments; attached mails too (parse them again);
          only the first million characters of HTML become text. docs/mail.md has the whole list.
"""
