"""One call of the api: whose key it is, what it may do, and that it is done once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any, cast

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from ninja import Schema
from ninja.security import HttpBearer

from todoku.api import services
from todoku.api.errors import CallReused, ScopeMissing
from todoku.api.models import AnsweredCall
from todoku.api.ports import ports
from todoku.api.types import KeyInfo, Scope
from todoku.kernel.clock import Clock

ANSWERS_KEPT = timedelta(hours=24)
REPLAYED = "Idempotency-Replayed"


class Key(HttpBearer):
    """`Authorization: Bearer tdk_…`; for calls that change something the key needs the scope `write`."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.scope = scope

    def authenticate(self, request: HttpRequest, token: str) -> KeyInfo:
        """Return the key; raises KeyInvalid, ScopeMissing."""
        key = services.open_with(token, clock=ports().clock)
        if self.scope not in key.scopes:
            raise ScopeMissing(f"the key {key.name!r} may not {self.scope.value}", todo="use a key with that scope")
        return key


def asker(request: HttpRequest) -> tuple[KeyInfo, Clock]:
    """Return whose key this request carries, and the clock to work by."""
    return cast(KeyInfo, vars(request)["auth"]), ports().clock


MAY_READ = Key(Scope.READ)
MAY_WRITE = Key(Scope.WRITE)


def once(request: HttpRequest, idempotency_key: str | None, work: Callable[[], Schema | None], status: int) -> Any:
    """Do the work and answer with what it returned; with an Idempotency-Key at most once in 24 hours.

    The work and the note of its answer are one transaction: killed in between, neither happened. Two calls at once
    with the same key: the second waits for the first and gets its answer. An error is no answer and may be tried
    again with the same key. Raises CallReused when the key was used for something else, and what the work raises.
    """
    key, clock = asker(request)
    if not idempotency_key:
        return _answer(_plain(work()), status)
    now_utc = clock.now_utc()
    fingerprint = _fingerprint(request)
    with transaction.atomic():
        AnsweredCall.objects.filter(key_id=key.id, answered_at__lt=now_utc - ANSWERS_KEPT).delete()
        note = AnsweredCall(
            key_id=key.id,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint,
            status=status,
            answered_at=now_utc,
        )
        # Waits for a call of the same key that is under way; afterwards either its answer is there or the way is free.
        AnsweredCall.objects.bulk_create([note], ignore_conflicts=True)
        kept = AnsweredCall.objects.select_for_update().get(key_id=key.id, idempotency_key=idempotency_key)
        if kept.fingerprint != fingerprint:
            raise CallReused("this Idempotency-Key was used for another call", todo="use a fresh one for each call")
        if kept.body is not None:
            answer = _answer(kept.body.get("answer"), kept.status)
            answer[REPLAYED] = "true"
            return answer
        plain = _plain(work())
        AnsweredCall.objects.filter(pk=kept.pk).update(body={"answer": plain})
    return _answer(plain, status)


def moved(request: HttpRequest, **payload: object) -> None:
    """Tell open pages that a campaign or run of the key's project moved, once the transaction is kept."""
    project_id = asker(request)[0].project_id
    words = {name: str(value) for name, value in payload.items()}
    transaction.on_commit(lambda: ports().notify(project_id, "run", words))


def _plain(result: Schema | None) -> dict[str, Any] | None:
    return None if result is None else result.model_dump(mode="json")


def _answer(plain: dict[str, Any] | None, status: int) -> JsonResponse:
    return JsonResponse({} if plain is None else plain, status=status, json_dumps_params={"ensure_ascii": False})


def _fingerprint(request: HttpRequest) -> str:
    parts = (request.method or "").encode(), request.get_full_path().encode(), request.body
    return sha256(b"\0".join(parts)).hexdigest()
