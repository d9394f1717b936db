"""What about a sealed audience a person should look at before it is mailed. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from todoku.campaigns.packing import PackedEnd
from todoku.campaigns.types import Reason, RunKind

HOLD_ONE_IN = 10  # from this share of messages with a fault on
GUARD_FROM = 20  # below so many people, twice as many is no surprise
_JUMP, _FAULTS = "where about", "can't be filled in"


@dataclass(frozen=True, slots=True)
class HoldReason:
    """A reason to hold. word: part of its text by which it is known again; "" when nobody may let the run go on."""

    reason: Reason
    word: str


def why_hold(end: PackedEnd, kind: RunKind, guard_factor: float, expected: int | None) -> HoldReason | None:
    """Return why a person should look before this audience is mailed; None when nothing speaks against it.

    A resend or a test that reaches nobody any more is no reason: its books say so. expected: people when it was
    scheduled, or of the occurrence before.
    """
    if kind is not RunKind.CAMPAIGN:
        return _faults(end)
    if end.planned == 0:
        return HoldReason(Reason("nobody is in the audience any more", "条件に合うお客様が0人になりました"), "")
    if end.to_send == 0:
        return HoldReason(
            Reason(
                f"none of the {end.planned} people in the audience may be mailed any more",
                f"条件に合う{end.planned}人のうち、配信できる方がいなくなりました",
            ),
            "",
        )
    return _faults(end) or _jump(end, guard_factor, expected)


def _faults(end: PackedEnd) -> HoldReason | None:
    faulty = sum(end.faults.values())
    if not faulty or faulty * HOLD_ONE_IN < end.to_send:
        return None
    blame = ", ".join(f"{variable} ({count})" for variable, count in Counter(end.faults).most_common(3))
    return HoldReason(
        Reason(
            f"{faulty} of {end.to_send} messages {_FAULTS}: {blame}",
            f"{end.to_send}通のうち{faulty}通で差し込みができません: {blame}",
        ),
        _FAULTS,
    )


def _jump(end: PackedEnd, guard_factor: float, expected: int | None) -> HoldReason | None:
    if guard_factor <= 1.0 or not expected or max(end.planned, expected) < GUARD_FROM:
        return None
    if expected / guard_factor <= end.planned <= expected * guard_factor:
        return None
    return HoldReason(
        Reason(
            f"the audience has {end.planned} people {_JUMP} {expected} were expected",
            f"条件に合うお客様が{end.planned}人です（予定は約{expected}人）",
        ),
        _JUMP,
    )
