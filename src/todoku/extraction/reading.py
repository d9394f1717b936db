"""Read one mail: find whose it is, decide its kind, take its facts. Pure: no clock, no network, no database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

from msgspec.structs import replace

from todoku.extraction.compiled import CompiledSite
from todoku.extraction.facts import Problem, build_facts
from todoku.extraction.fields import FieldReader
from todoku.extraction.forwarding import attached_mails, find_inner, without_quote_marks
from todoku.extraction.kinds import decide_kind
from todoku.extraction.letter import Letter
from todoku.extraction.markup import read_markup
from todoku.extraction.site_folders import compiled_sites
from todoku.extraction.types import NoticeKind, Outcome, Reading
from todoku.kernel.clock import require_aware
from todoku.kernel.folding import fold_for_matching
from todoku.mail.errors import Unreadable
from todoku.mail.parse import parse_mail
from todoku.mail.types import ParsedMail

MAX_FORWARDED_DEPTH = 3
MAX_ATTACHED_MAILS = 200
"""How many attached mails are looked at, those inside of attached ones with them: 200 in each of 200 cost minutes."""

MAX_TEXT_CHARACTERS = 400_000
"""How much of a body is looked at; a notification has under 5,000."""

_FORWARDING_CONFIRMATION_SENDER = "forwarding-noreply@google.com"


def read_mail(raw: bytes, *, received_at: datetime) -> Reading:
    """Read the raw bytes of one mail.

    received_at: aware; stands in for the Date of a mail that has none. Raises mail.errors.Unreadable when the bytes
    are no mail; everything else that can be wrong is said in the Reading. The same bytes give the same Reading.
    """
    return read_parsed(parse_mail(raw), received_at=received_at)


def read_parsed(parsed: ParsedMail, *, received_at: datetime) -> Reading:
    """Read a mail that is parsed already; as read_mail."""
    return _read(parsed, require_aware(received_at), depth=0, looks=iter(range(MAX_ATTACHED_MAILS)))


def _read(parsed: ParsedMail, received_at: datetime, *, depth: int, looks: Iterator[int]) -> Reading:
    """Read one mail, or one that is attached to it. looks: an element for each attached mail that may be looked at."""
    letter, site = _letter(parsed, received_at)
    issued_at = letter.date if letter.date is not received_at else None
    if site is not None:
        return _read_by_definition(site, letter, parsed, issued_at)
    base = _without_facts(parsed, issued_at, notice=NoticeKind.OTHER)
    reading = _read_attached(parsed, received_at, depth, looks) or read_markup(compiled_sites(), parsed, base)
    if reading is not None:
        return reading
    site = _site_of_marks(letter)
    if site is not None:
        return _read_by_definition(site, letter, parsed, issued_at)
    if letter.sender == _FORWARDING_CONFIRMATION_SENDER:
        return replace(base, notice=NoticeKind.FORWARDING_CONFIRMATION)
    return base


def _letter(parsed: ParsedMail, received_at: datetime) -> tuple[Letter, CompiledSite | None]:
    """Return the mail as it counts and the site that sent it; what a person forwarded counts as the site sent it."""
    text = parsed.text[:MAX_TEXT_CHARACTERS]
    sender = parsed.sender.address.casefold()
    date = parsed.date if parsed.date is not None else received_at
    site = _site_of_sender(sender)
    if site is not None:
        folded = fold_for_matching(text)
        return Letter(text, folded, 0, (parsed.subject,), sender=sender, date=date, html=parsed.html), site
    text = without_quote_marks(text)
    folded = fold_for_matching(text)
    inner = find_inner(text, folded)
    if inner is None:
        return Letter(text, folded, 0, (parsed.subject,), sender=sender, date=date, html=parsed.html), None
    sender = inner.sender or sender
    subjects = (parsed.subject, inner.subject) if inner.subject else (parsed.subject,)
    date = inner.date if inner.date is not None else date
    letter = Letter(text, folded, inner.begin, subjects, sender=sender, date=date, html=parsed.html)
    return letter, _site_of_sender(sender)


@lru_cache(maxsize=1024)
def _site_of_sender(sender: str) -> CompiledSite | None:
    """Return the site that knows the whole address, else the one that knows the longest end of its domain."""
    for site in compiled_sites():
        if sender in site.senders:
            return site
    domain = "." + sender.rpartition("@")[2]
    known = [(len(end), site) for site in compiled_sites() for end in site.domains if domain.endswith("." + end)]
    return max(known, key=lambda one: one[0])[1] if known else None


def _site_of_marks(letter: Letter) -> CompiledSite | None:
    for site in compiled_sites():
        for words in site.marks:
            if all(word in letter.squeezed_body or word in letter.squeezed_subjects for word in words):
                return site
    return None


def _read_attached(parsed: ParsedMail, received_at: datetime, depth: int, looks: Iterator[int]) -> Reading | None:
    """Return the reading of the first attached mail that is of a known site, or None."""
    if depth >= MAX_FORWARDED_DEPTH or not parsed.attachments:
        return None
    for raw, _ in zip(attached_mails(parsed.attachments), looks, strict=False):
        try:
            inner = parse_mail(raw)
        except Unreadable:
            continue  # the mail around it is read for itself
        reading = _read(inner, received_at, depth=depth + 1, looks=looks)
        if reading.site is not None:
            return replace(reading, lossy_characters=reading.lossy_characters + parsed.lossy_characters)
    return None


def _read_by_definition(site: CompiledSite, letter: Letter, parsed: ParsedMail, issued_at: datetime | None) -> Reading:
    reader = FieldReader(site, letter)
    rule = decide_kind(site, letter, reader.scan, reader.first_piece("status"))
    if rule is None:
        return _without_facts(parsed, issued_at, site=site.id, problem="unknown_kind")
    if rule.event is None:
        return _without_facts(parsed, issued_at, site=site.id, notice=rule.notice)
    facts = build_facts(reader, rule.event)
    if isinstance(facts, Problem):
        return _without_facts(parsed, issued_at, site=site.id, problem=facts.word)
    return Reading(
        outcome=Outcome.RESERVATION,
        site=site.id,
        facts=facts,
        issued_at=issued_at,
        message_id=parsed.message_id,
        sender=parsed.sender.address,
        subject=parsed.subject,
        text=parsed.text,
        lossy_characters=parsed.lossy_characters,
        evidence=tuple(reader.evidence),
    )


def _without_facts(
    parsed: ParsedMail,
    issued_at: datetime | None,
    *,
    site: str | None = None,
    notice: NoticeKind | None = None,
    problem: str | None = None,
) -> Reading:
    """Return the reading of a mail that is no reservation (notice) or that nobody can read (problem)."""
    return Reading(
        outcome=Outcome.NOT_A_RESERVATION if problem is None else Outcome.UNKNOWN_LAYOUT,
        site=site,
        notice=notice,
        problem=problem,
        issued_at=issued_at,
        message_id=parsed.message_id,
        sender=parsed.sender.address,
        subject=parsed.subject,
        text=parsed.text,
        lossy_characters=parsed.lossy_characters,
    )
