"""Extraction: what a notification mail says.

Purpose     raw bytes in, a Reading out: facts of one reservation, or which other mail it is, or that nobody can
            read it.
Reads       the bytes it is given, and the site definitions and samples in its own package (`sites/`), once.
Writes      nothing.
Guarantees  pure: the same bytes give the same Reading; no clock, network or database. Nothing is guessed: a key that
            is not found makes `unknown_layout`. Evidence says where each value stood. Time is bounded by the size of
            the mail: what authors write as patterns runs on RE2.
Settings    none.
Known limits  times in forwarded header blocks without an offset are passed over; a notification inside the text of a
            forwarded mail is read only once, the first one.

    read_mail(raw, received_at=...) -> Reading        as_json(file, reading) -> dict
    sites() -> tuple[SiteInfo, ...]                   sample_mails() -> (folder, file name, bytes)...
    rules_version(site) -> str
"""

from __future__ import annotations

from todoku.extraction.contract import as_json
from todoku.extraction.reading import read_mail, read_parsed
from todoku.extraction.site_folders import sample_mails, sites
from todoku.extraction.versions import rules_version

__all__ = ["as_json", "read_mail", "read_parsed", "rules_version", "sample_mails", "sites"]
