"""The bucket as a MailSource."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from typing import Final

import aiohttp
import structlog

from todoku.kernel.clock import Clock
from todoku.sources.credentials import Credential, Keyring
from todoku.sources.errors import CannotFetch, CannotLook, Cause, CredentialRefused, MailVanished
from todoku.sources.mailbox_files import MAX_MAIL_BYTES
from todoku.sources.s3.answers import NotUnderstood, Page, concerns_one_object, read_error, read_page, trouble
from todoku.sources.s3.client import AwsClient, Login, read_answer, with_patience
from todoku.sources.s3.notices import Notices, is_mail_name
from todoku.sources.s3.notifications import MAIL_MARK
from todoku.sources.s3.queue import AT_ONCE, LONG_POLL_SECONDS, Queue
from todoku.sources.s3.settings import S3Settings
from todoku.sources.s3.signature import Request
from todoku.sources.types import Listed

log = structlog.get_logger(__name__)

_PAGE: Final = 1_000  # what S3 gives at most
_LOOKUPS_AT_ONCE: Final = 8
_SHORT_SECONDS: Final = 0.2  # a queue that answers sooner than it was asked to is not asked more often
_QUEUE_REST_SECONDS: Final = 5.0  # a queue that is away is asked again after so long


class _Untold:
    """The keyring as the queue sees it: a queue's refusal must not retire a key that the bucket takes."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def in_order(self) -> Sequence[Credential]:
        """Return what may be tried."""
        return self._keyring.in_order()

    def used(self, credential_id: str) -> None:
        """Tell nobody."""

    def refused(self, credential_id: str, why: str) -> None:
        """Tell nobody but the log."""
        log.warning("source.queue_refuses", credential=credential_id, why=why)


class S3Source:
    """One bucket with the queue that may tell of its mails. Keys: `<object key>@<ETag>`; of one event loop.

    Whoever calls `until_changed` says with it that what was given before has arrived or was known (the Collector calls
    it after such a look only): notifications of it are deleted then, and not earlier.
    """

    def __init__(self, settings: S3Settings, keyring: Keyring, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._client = AwsClient(settings, clock)
        self._login = Login(keyring)
        self._queue = Queue(settings, self._client, Login(_Untold(keyring))) if settings.queue_url else None
        self._notices = Notices(settings.bucket, settings.prefix, settings.tries)
        self._list_at_seconds: float | None = None  # when a whole listing is due; None: at once
        self._unconfirmed = False  # a look was given, and nobody waited since: not all of it may have arrived
        self._queue_at_seconds = 0.0  # when the queue may be asked again
        self.queue_trouble = ""  # why the queue could not be asked last, "" when it could

    @property
    def without_mail(self) -> int:
        """Return how many notifications were let go because their object was never there."""
        return self._notices.without_mail

    async def list_mails(self) -> AsyncIterator[Listed]:
        """Give every mail below the prefix, and those that are in notifications; raises CannotLook.

        Memory: one page of 1,000 objects, whatever the bucket holds.
        """
        self._list_at_seconds = None
        due_at_seconds = self._clock.monotonic_seconds() + self._settings.list_every_seconds
        if self._notices.is_full:  # nobody waited for a long time, because something could not be fetched
            self._notices.make_room()
        await self._hear(0, must=not self._settings.bucket)
        wanted = set(self._notices.not_looked_for())  # told before the listing begins: it must have them
        there: set[str] = set()
        for key in list(self._notices.mails()):
            yield Listed(key, None)
        if self._settings.bucket:
            async for one in self._objects():
                name = one.key.rpartition("@")[0]
                if name in wanted:
                    there.add(name)
                yield one
        self._notices.looked(wanted, there)
        self._list_at_seconds, self._unconfirmed = due_at_seconds, True

    async def noticed(self) -> list[Listed] | None:
        """Give the mails that the queue told of since the last look, without a listing; None: list all now.

        None at first, every `list_every_seconds`, after any trouble (also when nobody waited since the last look), and
        without a queue. An empty list: nothing came, and no listing is due. Raises CannotLook.
        """
        due = self._list_at_seconds
        if self._queue is None or self.queue_trouble or self._unconfirmed or due is None:
            return None
        if self._clock.monotonic_seconds() >= due:
            return None
        self._list_at_seconds = None  # until this look has gone well
        names = self._notices.not_looked_for()
        found: list[Listed] = [Listed(key, None) for key in self._notices.mails()]
        there: set[str] = set()
        for start in range(0, len(names), _LOOKUPS_AT_ONCE):
            some = names[start : start + _LOOKUPS_AT_ONCE]
            for page in await asyncio.gather(*(self._page(name, "", 1) for name in some)):
                for one in page.objects:
                    if one.name in some:
                        there.add(one.name)
                        found.append(Listed(f"{one.name}@{one.etag}", one.modified_utc))
        self._notices.looked(set(names), there)
        self._list_at_seconds, self._unconfirmed = due, True
        return found

    async def fetch(self, key: str) -> bytes:
        """Return the mail; raises MailVanished, also when the object has other bytes now, CannotFetch, CannotLook."""
        name, _, etag = key.rpartition("@")
        if etag.startswith(MAIL_MARK):
            raw = self._notices.mail(key)
            if raw is None:
                raise CannotFetch(f"{key}: its notification is not here now", kept="the notification, in the queue")
            return raw
        denied: set[str] = set()
        try:
            raw = await with_patience(lambda: self._login.run(lambda one: self._get(name, etag, one, denied)))
        except MailVanished:
            self._notices.fetched(name, vanished=True)
            raise
        except CannotLook as error:
            self._notices.fetched(name, failed=True)
            if error.cause is Cause.CREDENTIAL and denied == {"AccessDenied"}:
                # the bucket could be listed: it is this object (its own key for encryption, its owner), or all of them
                raise CannotFetch(error.what, kept="the object", todo="allow s3:GetObject, and its KMS key") from error
            raise
        except CannotFetch:
            self._notices.fetched(name, failed=True)
            raise
        return raw

    async def until_changed(self, seconds: float) -> None:
        """Return when the queue told of a mail, or after so many seconds; without a queue after `poll_seconds`.

        Lets go of the notifications of what was given before. A queue that is away is logged and waited for; looks go
        on as if there were none.
        """
        now = self._clock.monotonic_seconds
        until_seconds, poll_at_seconds = now() + seconds, now() + self._settings.poll_seconds
        self._unconfirmed = False
        await self._let_go()
        while not self._notices.is_waiting:
            blind = self._queue is None or bool(self.queue_trouble)
            began_seconds = now()
            left_seconds = (min(until_seconds, poll_at_seconds) if blind else until_seconds) - began_seconds
            if left_seconds <= 0:
                return
            wait_seconds = 0 if blind else min(LONG_POLL_SECONDS, math.floor(left_seconds))
            heard = await self._hear(wait_seconds)
            if heard or (blind and self._queue is not None and not self.queue_trouble):
                return  # also when the queue is back: the next look lists all
            await self._let_go()
            if wait_seconds == 0 or now() - began_seconds < _SHORT_SECONDS:
                await asyncio.sleep(min(left_seconds, _QUEUE_REST_SECONDS if blind else _SHORT_SECONDS))

    async def close(self) -> None:
        """Close the connections. Notifications that were not let go come again."""
        self._notices.forget()
        self._list_at_seconds = None
        await self._client.close()

    async def _objects(self) -> AsyncIterator[Listed]:
        token, first = "", True
        seen: set[int] = set()  # 1,000 for a million objects
        while first or token:
            page = await self._page(self._settings.prefix, token, _PAGE, anew=first)
            first, token = False, page.next_token
            if hash(token) in seen:
                raise CannotLook(Cause.PROTOCOL, f"{self._settings.bucket_url}: the listing goes round in a circle")
            seen.add(hash(token))
            for one in page.objects:
                if is_mail_name(one.name):
                    yield Listed(f"{one.name}@{one.etag}", one.modified_utc)

    async def _page(self, prefix: str, token: str, most: int, *, anew: bool = False) -> Page:
        query = {"list-type": "2", "encoding-type": "url", "max-keys": str(most), "prefix": prefix}
        if token:
            query["continuation-token"] = token
        request = Request("GET", self._settings.bucket_url, query, {})

        async def attempt(credential: Credential) -> Page:
            answer = await self._client.ask(request, credential, "s3")
            asked = f"listing {self._settings.bucket_url}"
            if answer.status != 200:
                raise trouble(answer, asked, self._clock.now_utc())
            try:
                return read_page(answer.body)
            except NotUnderstood as error:
                if read_error(answer.body).code:  # a 200 that is an error after all
                    raise trouble(answer, asked, self._clock.now_utc()) from error
                raise CannotLook(Cause.PROTOCOL, f"{asked}: {error}") from error

        return await with_patience(lambda: self._login.run(attempt, anew=anew))

    async def _get(self, name: str, etag: str, credential: Credential, denied: set[str]) -> bytes:
        request = Request("GET", self._settings.object_url(name), {}, {"If-Match": f'"{etag}"'})
        async with self._client.open(request, credential, "s3") as response:
            if response.status == 200:
                return await self._body(response, name, etag)
            answer = await read_answer(response, request.url)
        code = read_error(answer.body).code
        if (answer.status == 404 and code in {"NoSuchKey", "NoSuchVersion"}) or answer.status == 412:
            raise MailVanished(f"{name} is not in {self._settings.bucket_url} any more, or has other bytes")
        error = trouble(answer, f"fetching {name} from {self._settings.bucket_url}", self._clock.now_utc())
        if concerns_one_object(answer.status, code):
            raise CannotFetch(error.what, kept="the object", todo="see whether its key or its archive may be used")
        if isinstance(error, CredentialRefused):
            denied.add(code)
        raise error

    async def _body(self, response: aiohttp.ClientResponse, name: str, etag: str) -> bytes:
        where = f"{name} in {self._settings.bucket_url}"
        if response.headers.get("ETag", etag).strip('"') != etag:  # a server that does not know If-Match
            raise MailVanished(f"{where} has other bytes now")
        if (response.content_length or 0) > MAX_MAIL_BYTES:
            raise CannotFetch(f"{where} is larger than {MAX_MAIL_BYTES >> 20} MB", kept="the object")
        raw = bytearray()
        try:
            async for chunk in response.content.iter_any():
                raw += chunk
                if len(raw) > MAX_MAIL_BYTES:
                    raise CannotFetch(f"{where} is larger than {MAX_MAIL_BYTES >> 20} MB", kept="the object")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise CannotFetch(f"{where} broke off after {len(raw)} octets", kept="the object") from error
        if response.content_length is not None and len(raw) != response.content_length:
            raise CannotFetch(f"{where} has {len(raw)} octets instead of {response.content_length}", kept="the object")
        return bytes(raw)

    async def _hear(self, wait_seconds: int, *, must: bool = False) -> bool:
        """Receive what is there now; tell whether a mail is among it. must: raise CannotLook instead of going on."""
        if self._queue is None or (not must and self._clock.monotonic_seconds() < self._queue_at_seconds):
            return False
        told = False
        try:
            while not self._notices.is_full:
                messages = await self._queue.receive(0 if told else wait_seconds)
                for message in messages:
                    told = self._notices.take(message) or told
                if len(messages) < AT_ONCE:
                    break
        except (CannotLook, CredentialRefused) as error:
            self._queue_failed(error)
            if must:
                raise
            return told
        self.queue_trouble = ""
        return told

    async def _let_go(self) -> None:
        receipts = self._notices.release()
        if self._queue is None:
            return
        for start in range(0, len(receipts), AT_ONCE):
            try:
                failed = await self._queue.delete(receipts[start : start + AT_ONCE])
            except (CannotLook, CredentialRefused) as error:
                self._queue_failed(error)
                return
            if failed:
                log.info("source.notifications_not_deleted", count=failed)

    def _queue_failed(self, error: CannotLook | CredentialRefused) -> None:
        """Note it; the next look lists all, because a notification may have been lost on the way."""
        if not self.queue_trouble:
            log.warning("source.queue_away", queue=self._settings.queue_url, why=error.what)
        self.queue_trouble = error.what
        self._list_at_seconds = None
        self._queue_at_seconds = self._clock.monotonic_seconds() + _QUEUE_REST_SECONDS
