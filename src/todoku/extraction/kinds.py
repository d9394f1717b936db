"""Decide what kind of notification a mail is: the first rule of the site's list whose conditions all hold."""

from __future__ import annotations

from todoku.extraction.compiled import CompiledKind, CompiledSite, squeeze
from todoku.extraction.definition import KindRule
from todoku.extraction.letter import Letter
from todoku.extraction.scan import AFTER, Piece, Scan


def decide_kind(site: CompiledSite, letter: Letter, scan: Scan, status: Piece | None) -> KindRule | None:
    """Return the rule that fits, or None: then nobody knows, and nothing is guessed.

    The bare word キャンセル in a body never decides: it stands in the policy of every mail (trap 10), so definitions
    name whole sentences, and a status field or a subject goes before them.
    """
    state = squeeze(status.folded) if status is not None else None
    for kind in site.kinds:
        if _holds(kind, letter, scan, state):
            return kind.rule
    return None


def _holds(kind: CompiledKind, letter: Letter, scan: Scan, state: str | None) -> bool:
    # the subject first: it is in most rules and says no to most mails
    if kind.subject and not _any_occurs(kind.subject, letter.squeezed_subjects):
        return False
    if kind.status and (state is None or not state.startswith(kind.status)):
        return False
    if kind.not_status and state is not None and state.startswith(kind.not_status):
        return False
    rule = kind.rule
    if rule.no_status and state is not None:
        return False
    if rule.after_block and AFTER not in scan.sections:
        return False
    if rule.sender and letter.sender not in rule.sender:
        return False
    return not kind.body or _any_occurs(kind.body, letter.squeezed_body)


def _any_occurs(words: tuple[tuple[str, ...], ...], text: str) -> bool:
    for parts in words:  # noqa: SIM110  any() of a generator takes twice the time
        if parts[0] in text and (len(parts) == 1 or _occurs(parts, text)):
            return True
    return False


def _occurs(parts: tuple[str, ...], text: str) -> bool:
    position = 0
    for part in parts:
        found = text.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return True
