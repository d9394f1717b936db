"""Take a call: whose it is, whether it is proven, what mail it hands over; answer when vault and bus have that."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from typing import Final

import structlog

from todoku.bus.streams import UNROUTED_PROJECT
from todoku.kernel.errors import TodokuError
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.collecting import Place
from todoku.sources.errors import CannotFetch, CannotLook, CredentialRefused, NotKept
from todoku.sources.mailbox_files import MAX_MAIL_BYTES
from todoku.sources.webhook.amazon_web import AmazonWeb
from todoku.sources.webhook.errors import MalformedCall
from todoku.sources.webhook.mailgun import read_mailgun
from todoku.sources.webhook.memory import Remembered
from todoku.sources.webhook.postmark import read_postmark
from todoku.sources.webhook.sendgrid import read_sendgrid
from todoku.sources.webhook.ses import SesReader
from todoku.sources.webhook.sns import Web
from todoku.sources.webhook.types import (
    Answer,
    Call,
    Handed,
    Provider,
    ReadObject,
    Rebuild,
    WebhookBook,
    WebhookPlace,
)

log = structlog.get_logger(__name__)

_MB: Final = 1024 * 1024
# Postmark says the same twice: 35 MB of attachments in base64, and the whole mail again with \r\n for each line end.
MAX_CALL_BYTES: Final = dict.fromkeys(Provider, 64 * _MB) | {Provider.POSTMARK: 112 * _MB}
_LARGE_BYTES: Final = _MB  # what takes longer to read than other calls should wait: 1 MB of JSON takes 5 ms


class Reception:
    """Takes the calls of all providers; one for each event loop. counts: what became of calls, by the log's names."""

    def __init__(
        self,
        book: WebhookBook,
        writer: ArrivalWriter,
        *,
        rebuild: Rebuild | None = None,
        web: Web | None = None,
        read_object: ReadObject | None = None,
    ) -> None:
        """rebuild: makes a mail of parts; without it a call without the whole mail is kept as it came."""
        self._book = book
        self._writer = writer
        self._rebuild = rebuild
        self._ses = SesReader(book, web if web is not None else AmazonWeb(), read_object)
        self._known = Remembered()
        self._tokens = Remembered()
        self.counts: Counter[str] = Counter()

    async def find(self, provider: str, token: str) -> WebhookPlace | Answer:
        """Return whose token it is; an Answer when nobody's, which may be our fault and is therefore `later`."""
        try:
            place = await self._book.find(token)
        except TodokuError as error:
            return self._later("webhook.book_away", "the book of webhooks can't be read", error=error.what)
        digest = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()[:12]
        if place is None:
            todo = "correct the address at the provider, or add the source"
            return self._later("webhook.unknown_token", "nobody's address", provider=provider, token=digest, todo=todo)
        if place.provider != provider:
            why = f"the address says {provider[:20]!r} and the source is {place.provider.value}"
            self._book.refused(place, why)
            return self._later("webhook.wrong_provider", "another provider's address", source=place.place.source)
        return place

    async def receive(self, place: WebhookPlace, call: Call) -> Answer:
        """Keep the mail of a call and return what is answered; raises nothing.

        Killed at any moment, the call is not answered and comes again. A call that can't be read is kept as it came.
        """
        try:
            return await self._receive(place, call)
        except CredentialRefused as error:
            self._book.refused(place, error.what)
            return self._later("webhook.refused", "not proven", source=place.place.source, why=error.what)
        except NotKept as error:
            return self._later("webhook.not_kept", "can't be kept now", source=place.place.source, error=error.what)
        except (CannotLook, CannotFetch) as error:
            self._book.refused(place, error.what)
            return self._later("webhook.not_asked", "can't be read now", source=place.place.source, error=error.what)
        except Exception as error:  # noqa: BLE001  # whatever it is, the provider must try again
            return self._later("webhook.failed", "failed", source=place.place.source, exc_info=error)

    def too_large(self, place: WebhookPlace) -> Answer:
        """Answer a call that was not read to its end, because no provider documents one as large as that."""
        why = f"a call was larger than {MAX_CALL_BYTES[place.provider] // _MB} MB"
        self._book.refused(place, why)
        return self._later("webhook.too_large", "too large", source=place.place.source, why=why)

    async def _receive(self, place: WebhookPlace, call: Call) -> Answer:
        try:
            handed = await self._read(call, place)
            raw = handed.raw if handed.parts is None else await self._rebuilt(handed)
        except MalformedCall as error:
            return await self._keep_call(place, call, error)
        if handed.credential_id:
            self._book.used(place, handed.credential_id)
        if raw is None:
            return Answer.kept(handed.note)
        return await self._keep(place, handed, raw)

    async def _read(self, call: Call, place: WebhookPlace) -> Handed:
        """Return what the call hands over; what nobody expected of its body is a MalformedCall too."""
        try:
            if place.provider is Provider.SES:
                return await self._ses.read(call, place)
            if len(call.body) > _LARGE_BYTES:
                return await asyncio.to_thread(self._read_now, call, place)
            return self._read_now(call, place)
        except TodokuError:
            raise
        except Exception as error:
            log.error("webhook.reader_failed", source=place.place.source, exc_info=error)
            raise MalformedCall(f"the call can't be read: {type(error).__name__}", proven=False) from error

    def _read_now(self, call: Call, place: WebhookPlace) -> Handed:
        if place.provider is Provider.SENDGRID:
            return read_sendgrid(call, place)
        if place.provider is Provider.POSTMARK:
            return read_postmark(call, place)
        return read_mailgun(call, place, self._writer.clock.now_utc())

    async def _rebuilt(self, handed: Handed) -> bytes:
        assert handed.parts is not None
        if self._rebuild is None:
            todo = "switch the provider to the raw mail, or install todoku[anymail]"
            raise MalformedCall("the call has only pieces of the mail", todo=todo)
        try:
            return await asyncio.to_thread(self._rebuild, handed.parts)
        except Exception as error:
            log.error("webhook.rebuild_failed", provider=handed.parts.provider, exc_info=error)
            raise MalformedCall(f"no mail can be made of the pieces: {type(error).__name__}") from error

    async def _keep(self, place: WebhookPlace, handed: Handed, raw: bytes) -> Answer:
        digest = hashlib.sha256(raw)
        if handed.once:
            self._require_once(place, handed.once, digest.hexdigest())
        owner = place.place
        identity = handed.identity or f"sha256:{_digest(digest.digest(), handed.mail_from, handed.rcpt_to).hex()}"
        cursor = f"{place.provider}:{identity}"
        # The octets too: one name for two mails, which a provider should not give, must not lose the second.
        key = _digest(digest.digest(), owner.project_id, owner.source, cursor)
        before = self._known.get(key)
        if before is not None:
            self.counts["webhook.repeated"] += 1
            log.info("webhook.repeated", source=owner.source, arrival_id=before)
            return Answer.kept(f"kept as {before}")
        arrival_id = await self._accept(owner, owner.project_id, raw, handed, cursor)
        self._known.put(key, arrival_id)
        self.counts["webhook.kept"] += 1
        if handed.parts is not None:
            todo = "switch the provider to the raw mail: of a mail in pieces no DKIM signature can be verified"
            log.warning("webhook.rebuilt", source=owner.source, arrival_id=arrival_id, todo=todo)
        return Answer.kept(f"kept as {arrival_id}")

    async def _accept(self, owner: Place, project_id: str, raw: bytes, handed: Handed, cursor: str) -> str:
        if len(raw) > MAX_MAIL_BYTES:
            raise CannotFetch(f"the mail is larger than {MAX_MAIL_BYTES // _MB} MB", kept="the mail, at the provider")
        arrival = await self._writer.accept(
            raw,
            project_id=project_id,
            source=owner.source,
            mail_from=handed.mail_from,
            rcpt_to=handed.rcpt_to,
            shop_code=owner.shop_code,
            site=owner.site,
            cursor=cursor,
        )
        return str(arrival.arrival_id)

    async def _keep_call(self, place: WebhookPlace, call: Call, error: MalformedCall) -> Answer:
        """Keep a body that no mail can be read from; it ends as unreadable, in sight of a person.

        What is not proven either is in nobody's book: it lies under `_unrouted`, as mail to unknown addresses does.
        """
        project_id = place.place.project_id if error.proven else UNROUTED_PROJECT
        cursor = f"{place.provider}:call:{hashlib.sha256(call.body).hexdigest()}"
        key = _digest(b"", project_id, place.place.source, cursor)
        arrival_id = self._known.get(key)
        if arrival_id is None:
            arrival_id = await self._accept(place.place, project_id, call.body, Handed(), cursor)
            self._known.put(key, arrival_id)
        self.counts["webhook.unreadable"] += 1
        words = {"source": place.place.source, "arrival_id": arrival_id, "proven": error.proven}
        log.error("webhook.unreadable", why=error.what, todo=error.todo, **words)
        return Answer.kept(f"kept as {arrival_id}, unread")

    def _require_once(self, place: WebhookPlace, once: str, sha256: str) -> None:
        """Let what was signed stand for one mail; raises CredentialRefused when it stood for another before."""
        key = _digest(b"", place.place.project_id, place.place.source, once)
        before = self._tokens.get(key)
        if before is not None and before != sha256:
            raise CredentialRefused("the signature was seen with another mail before", kept="the first one")
        self._tokens.put(key, sha256)

    def _later(self, action: str, text: str, **words: object) -> Answer:
        self.counts[action] += 1
        log.warning(action, **words)
        return Answer.later(text)


def _digest(content: bytes, *texts: str) -> bytes:
    parts = [content, *(text.encode("utf-8", "replace") for text in texts)]
    whole = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hashlib.blake2b(whole, digest_size=20).digest()
