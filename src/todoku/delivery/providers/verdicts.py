"""What a provider answers, as a verdict. anymail reads the answer; what a status means for the books is ours.

Only what concerns this one message is PERMANENT. A 5xx other than 503 is UNKNOWN: the provider may have the message.
"""

from __future__ import annotations

from typing import Any

import requests
from anymail.exceptions import AnymailError

from todoku.delivery.transports.http_post import HttpAnswer
from todoku.delivery.transports.one_by_one import Verdict
from todoku.delivery.types import AnswerKind

_OUR_ACCOUNT = frozenset({401, 402, 403, 404, 405, 407})
_BY_STATUS = {
    "sent": AnswerKind.ACCEPTED,
    "queued": AnswerKind.ACCEPTED,
    "invalid": AnswerKind.PERMANENT,
    "rejected": AnswerKind.PERMANENT,
    "failed": AnswerKind.PERMANENT,
}


def verdict_of(answer: HttpAnswer, backend: Any, payload: Any, message: Any) -> Verdict:
    """Return what the answer to one message means."""
    response = _as_requests_knows_it(answer)
    try:
        backend.raise_for_status(response, payload, message)
        statuses = backend.parse_recipient_status(response, payload, message)
    except AnymailError:
        return _of_refusal(answer.status, _words(answer))
    (status,) = statuses.values()
    kind = _BY_STATUS.get(status.status, AnswerKind.UNKNOWN)
    if kind is AnswerKind.ACCEPTED:
        return Verdict(kind, f"{answer.status} {status.status} {status.message_id or ''}".rstrip())
    return Verdict(kind, f"{answer.status} {status.status}: {_words(answer)}")


def _of_refusal(status: int, words: str) -> Verdict:
    text = f"{status} {words}".rstrip()
    if status == 429:
        return Verdict(AnswerKind.TEMPORARY, text)
    if status == 503:
        return Verdict(AnswerKind.TEMPORARY, text, relay_failed=True)
    if status in _OUR_ACCOUNT or 300 <= status < 400:
        return Verdict(AnswerKind.TEMPORARY, text, relay_failed=True, everybody=True)
    if 400 <= status < 500:
        return Verdict(AnswerKind.PERMANENT, text)
    return Verdict(AnswerKind.UNKNOWN, text)


def _as_requests_knows_it(answer: HttpAnswer) -> requests.Response:
    response = requests.Response()
    response.status_code = answer.status
    response.headers.update(answer.headers)
    response._content = answer.body
    response.encoding = "utf-8"
    return response


def _words(answer: HttpAnswer) -> str:
    return " ".join(answer.body.decode("utf-8", "replace").split())[:300]
