"""What SES answers, as a verdict. Source: Amazon SES API v2 reference, SendEmail and "Common Error Types".

Only what concerns this one message is PERMANENT. What concerns the account, its keys or its quota holds everybody: the
run is late and alarmed, instead of thousands of refusals that no guest has caused.
"""

from __future__ import annotations

import json

from todoku.delivery.transports.http_post import HttpAnswer
from todoku.delivery.transports.one_by_one import Verdict
from todoku.delivery.types import AnswerKind

_THROTTLED = frozenset({"TooManyRequestsException", "ThrottlingException", "Throttling", "ThrottledException"})
_OUR_ACCOUNT = frozenset(
    {
        "AccountSuspendedException",
        "SendingPausedException",
        "LimitExceededException",
        "MailFromDomainNotVerifiedException",
        "NotFoundException",  # the configuration set
        "AccessDeniedException",
        "NotAuthorized",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_SERVICE_SAYS_NO = frozenset(
    {"ServiceUnavailable", "ServiceUnavailableException", "InternalFailure", "InternalServiceErrorException"}
)
_NOT_VERIFIED = "Email address is not verified"  # the sender, or in the sandbox anybody


def verdict_of(answer: HttpAnswer) -> Verdict:
    """Return what an answer of SendEmail means."""
    document = _document(answer.body)
    if answer.status == 200:
        return Verdict(AnswerKind.ACCEPTED, f"200 {document.get('MessageId', 'taken, without a message id')}")
    error = answer.headers.get("x-amzn-ErrorType") or str(document.get("__type") or document.get("code") or "")
    error = error.partition(":")[0].rpartition("#")[2]
    message = str(document.get("message") or document.get("Message") or "")
    text = f"{answer.status} {error or 'no error type'}: {message}" if message else f"{answer.status} {error}".strip()
    if error in _THROTTLED or answer.status == 429:
        return Verdict(AnswerKind.TEMPORARY, text)
    if error in _OUR_ACCOUNT or answer.status in (401, 403) or message.startswith(_NOT_VERIFIED):
        return Verdict(AnswerKind.TEMPORARY, text, relay_failed=True, everybody=True)
    if answer.status >= 500:
        if error in _SERVICE_SAYS_NO:
            return Verdict(AnswerKind.TEMPORARY, text, relay_failed=True)
        return Verdict(AnswerKind.UNKNOWN, text)  # a gateway's word: what stands behind it may have the message
    if answer.status >= 400 and error:
        return Verdict(AnswerKind.PERMANENT, text)
    # a redirect, or a page of something that is not SES: the endpoint is wrong, the message is not there
    return Verdict(AnswerKind.TEMPORARY, text or str(answer.status), relay_failed=True, everybody=True)


def _document(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
