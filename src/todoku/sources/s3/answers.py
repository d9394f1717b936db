"""What S3 and SQS answer, read without trust. Source: Amazon S3 API reference, ListObjectsV2 and "Error responses"."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple
from urllib.parse import unquote_plus
from xml.parsers import expat

from todoku.sources.errors import CannotLook, Cause, CredentialRefused

_REFUSALS: Final = {
    "AccessDenied": "the key is known and may not do this",
    "AccessDeniedException": "the key is known and may not do this",
    "AccountProblem": "there is a problem with the account",
    "AllAccessDisabled": "all access is switched off",
    "ExpiredToken": "the session key has expired",
    "ExpiredTokenException": "the session key has expired",
    "InvalidAccessKeyId": "nobody has this access key (any more)",
    "InvalidClientTokenId": "nobody has this access key (any more)",
    "InvalidSignatureException": "the secret key is wrong",
    "InvalidToken": "the session token is not valid",
    "MissingAuthenticationToken": "the session token is missing",
    "NotSignedUp": "the account has no S3",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "TokenRefreshRequired": "the session key must be renewed",
    "UnrecognizedClientException": "nobody has this access key (any more)",
}
_BUSY: Final = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "OverLimit",
        "RequestThrottled",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_NOT_THERE: Final = frozenset({"NoSuchBucket", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"})
_ELSEWHERE: Final = frozenset(
    {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_SKEWED: Final = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_SKEW_WORDS: Final = ("Signature expired", "Signature not yet current")  # SQS says it as InvalidSignatureException
_MOST_WORDS: Final = 200
_ETAG: Final = re.compile(r"[!#-~]{1,128}")  # goes into a header again
_NOT_PRINTABLE: Final = re.compile(r"[^ -~\u00a0-\ud7ff\ue000-\ufffd]+")


class NotUnderstood(ValueError):
    """The answer is not what its protocol knows."""


class ListedObject(NamedTuple):
    """One object of a page. name: its key in the bucket."""

    name: str
    etag: str
    modified_utc: datetime | None


@dataclass(slots=True)
class Page:
    """One page of a listing. next_token: "" on the last one."""

    objects: list[ListedObject] = field(default_factory=list)
    next_token: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: status, headers (names in lower case), body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class ErrorWords:
    """What an error document says; "" where it says nothing."""

    code: str = ""
    message: str = ""
    server_time: str = ""


def read_page(body: bytes) -> Page:
    """Return the page that a ListObjectsV2 answer holds; raises NotUnderstood, also for a page that is cut short."""
    page = Page()
    one: dict[str, str] = {}
    whole: dict[str, str] = {}

    def take(path: list[str], text: str) -> None:
        depth = len(path)
        if depth == 3 and path[1] == "Contents":
            one[path[2]] = text
        elif depth == 2 and path[1] == "Contents":
            page.objects.append(_object(one))
            one.clear()
        elif depth == 2:
            whole[path[1]] = text

    root = _read_xml(body, take)
    if root != "ListBucketResult":  # S3 may say 200 and send an error
        raise NotUnderstood(f"a listing was asked for, and {root[:60]} came")
    if whole.get("EncodingType") == "url":
        page.objects = [one._replace(name=unquote_plus(one.name)) for one in page.objects]
    if whole.get("IsTruncated", "false") == "true":
        page.next_token = whole.get("NextContinuationToken", "")
        if not page.next_token:
            raise NotUnderstood("the listing is cut short and does not say how it goes on")
    return page


def _object(found: Mapping[str, str]) -> ListedObject:
    name, etag = found.get("Key", ""), found.get("ETag", "").strip('"')
    if not name or not _ETAG.fullmatch(etag):
        raise NotUnderstood("an object is listed without name or without a usable ETag")
    try:
        modified_utc = datetime.fromisoformat(found.get("LastModified", "")).astimezone(UTC)
    except (ValueError, OverflowError):
        modified_utc = None
    return ListedObject(name, etag, modified_utc)


def _read_xml(body: bytes, take: Callable[[list[str], str], None]) -> str:
    """Tell of each element at its end, with its path and text; return the root's name. Refuses any DTD."""
    path: list[str] = []
    texts: list[str] = []  # of the element that began last
    roots: list[str] = []

    def begin(name: str, _attributes: Mapping[str, str]) -> None:
        if not path:
            roots.append(name)
        path.append(name)
        texts.clear()

    def end(_name: str) -> None:
        take(path, "".join(texts))
        path.pop()
        texts.clear()

    def refuse(*_of: object) -> None:
        raise NotUnderstood("the answer has a document type, which S3 never sends")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler = texts.append
    parser.buffer_text = True  # a key with an entity in it comes in one piece
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise NotUnderstood(f"the answer is no whole XML: {error}") from error
    return roots[0]


def read_error(body: bytes) -> ErrorWords:
    """Return what an error document says, of S3 (XML) or SQS (JSON); nothing for a page of something else."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return _read_xml_error(body)
    if not isinstance(document, dict):
        return ErrorWords()
    code = str(document.get("__type") or document.get("code") or "").rpartition("#")[2]
    return ErrorWords(_words(code), _words(str(document.get("message") or document.get("Message") or "")))


def _read_xml_error(body: bytes) -> ErrorWords:
    said: dict[str, str] = {}

    def take(path: list[str], text: str) -> None:
        if path[:1] == ["Error"] or path[:2] == ["ErrorResponse", "Error"]:
            said[path[-1]] = text

    try:
        _read_xml(body, take)
    except NotUnderstood:
        return ErrorWords()
    return ErrorWords(_words(said.get("Code", "")), _words(said.get("Message", "")), said.get("ServerTime", ""))


def trouble(answer: Answer, asked: str, now_utc: datetime) -> CannotLook | CredentialRefused:
    """Return what an answer that is no success means for a look.

    asked: what was asked of whom, for people. now_utc: our time, to say by how much it is wrong.
    """
    error = read_error(answer.body)
    said = f"{asked}: {answer.status} {error.code or 'without a code'}"
    said = f"{said}: {error.message}" if error.message else said
    if error.code in _SKEWED or error.message.startswith(_SKEW_WORDS):
        return _skew(answer, error, asked, now_utc)
    if answer.status >= 500 or answer.status == 429 or error.code in _BUSY:
        return CannotLook(Cause.UNREACHABLE, said, todo="nothing: it is asked again")
    if error.code in _NOT_THERE:
        return CannotLook(Cause.MISSING, said, todo="name the bucket or queue as it is called there, or make it")
    if error.code in _ELSEWHERE or 300 <= answer.status < 400:
        region = _words(answer.headers.get("x-amz-bucket-region", ""))
        hint = f"set region to {region}" if region else "set region and endpoint to where the bucket is"
        return CannotLook(Cause.PROTOCOL, said, todo=hint)
    if error.code in _REFUSALS:
        words = f" ({error.message})" if error.message else ""
        return CredentialRefused(f"{asked}: {error.code}: {_REFUSALS[error.code]}{words}")
    if answer.status in (401, 403) and error.code:
        return CredentialRefused(said)
    return CannotLook(Cause.PROTOCOL, said, todo="see whether endpoint and region are those of an S3 server")


def concerns_one_object(status: int, code: str) -> bool:
    """Tell whether what was said to a request for an object is about that object only."""
    if code == "InvalidObjectState":  # 403: in an archive
        return True
    about_all = code in _SKEWED | _ELSEWHERE | _NOT_THERE | _BUSY or code in _REFUSALS
    return 400 <= status < 500 and status not in (401, 403, 429) and bool(code) and not about_all


def _skew(answer: Answer, error: ErrorWords, asked: str, now_utc: datetime) -> CannotLook:
    """Say whose clock is wrong: a good key must not be replaced because of it."""
    by = ""
    theirs = _moment(error.server_time) or _moment(answer.headers.get("date", ""))
    if theirs is not None:
        seconds = (now_utc - theirs).total_seconds()
        by = f" by {abs(seconds):.0f} seconds ({'fast' if seconds > 0 else 'slow'})"
    return CannotLook(
        Cause.PROTOCOL,
        f"{asked}: {error.code}: our clock is wrong{by}; the key may be good",
        todo="set this machine's clock (NTP); S3 takes 15 minutes of difference",
    )


def _moment(text: str) -> datetime | None:
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text)
        except (ValueError, OverflowError):
            continue
        if moment.tzinfo is not None:
            return moment
    return None


def _words(text: str) -> str:
    """Return foreign words fit for a log: one line, not long."""
    return _NOT_PRINTABLE.sub(" ", text)[:_MOST_WORDS].strip()
