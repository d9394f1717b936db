"""Count failed sign-ins, so that nobody can guess passwords at speed.

Three limits within 15 minutes: one account from one network address, one network address, one account. They are
counted in the database, because several web processes share them. Whether an account exists makes no difference.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils.crypto import salted_hmac

from todoku.web.models import FailedSignIn

WINDOW = timedelta(minutes=15)
PER_ACCOUNT_AND_ADDRESS = 8
PER_ADDRESS = 60
PER_ACCOUNT = 120  # high: strangers must not be able to lock a shop out with a handful of requests


def may_try(email: str, remote_address: str, *, now_utc: datetime) -> bool:
    """Tell whether another attempt is allowed now."""
    limits = dict(
        zip(_subjects(email, remote_address), (PER_ACCOUNT_AND_ADDRESS, PER_ADDRESS, PER_ACCOUNT), strict=True)
    )
    recent = FailedSignIn.objects.filter(subject__in=limits, failed_at__gt=now_utc - WINDOW)
    counts: dict[str, int] = {}
    for subject in recent.values_list("subject", flat=True):
        counts[subject] = counts.get(subject, 0) + 1
    return all(counts.get(subject, 0) < limit for subject, limit in limits.items())


def record_failure(email: str, remote_address: str, *, now_utc: datetime) -> None:
    """Remember a failed attempt, and forget those that no longer count."""
    FailedSignIn.objects.filter(failed_at__lte=now_utc - WINDOW).delete()
    FailedSignIn.objects.bulk_create(
        FailedSignIn(subject=subject, failed_at=now_utc) for subject in _subjects(email, remote_address)
    )


def forget(email: str, remote_address: str) -> None:
    """Forget the failures of this account from this network address, after a sign-in that worked."""
    FailedSignIn.objects.filter(subject=_subjects(email, remote_address)[0]).delete()


def _subjects(email: str, remote_address: str) -> tuple[str, str, str]:
    account = email.strip().casefold()
    return (_hash(f"both {account} {remote_address}"), _hash(f"from {remote_address}"), _hash(f"account {account}"))


def _hash(text: str) -> str:
    return salted_hmac("todoku.web.attempts", text, algorithm="sha256").hexdigest()
