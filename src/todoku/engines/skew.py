"""Compare our clock with another's."""

from __future__ import annotations

from datetime import datetime

from todoku.kernel.health import Health, HealthState

LATE_SECONDS = 1.0
FAILING_SECONDS = 5.0


def skew_health(name: str, theirs: datetime, before: datetime, after: datetime) -> Health:
    """Judge the difference; theirs was read between before and after, so that much is uncertain and in our favour."""
    if theirs < before:
        skew = (theirs - before).total_seconds()
    elif theirs > after:
        skew = (theirs - after).total_seconds()
    else:
        skew = 0.0
    detail = (
        f"its clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} ours" if skew else "agrees with ours"
    )
    if abs(skew) < LATE_SECONDS:
        return Health(name, HealthState.OK, detail, after)
    state = HealthState.FAILING if abs(skew) >= FAILING_SECONDS else HealthState.LATE
    return Health(name, state, detail, after, "run a time service (chrony, systemd-timesyncd) on both machines")
