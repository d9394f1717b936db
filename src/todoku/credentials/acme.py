"""Order certificates from an authority that speaks ACME (RFC 8555), proven by HTTP-01.

STRATEGY  The protocol is the library `acme`'s (Certbot's), which waits on its sockets: it runs on a thread of its own.
          Between its two halves the answers to the authority's challenges are put on the bus, where every web door
          finds them. Each order has a fresh key; the account's key is kept with the credential, encrypted.
"""

from __future__ import annotations

import asyncio
import io
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import requests
from acme import challenges, client, crypto_util, messages
from acme import errors as acme_errors
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwa import ES256
from josepy.jwk import JWK
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from todoku.bus.errors import BusError
from todoku.credentials.challenges import ChallengeShelf
from todoku.credentials.errors import BadCredential, RenewalFailed
from todoku.credentials.proof import own_names
from todoku.credentials.types import Renewed

ACCOUNT_KEY: Final = "account_key_pem"
NEEDED_SETTINGS: Final = ("directory", "domains", "contact", "terms")
_AGREED: Final = "agreed"
_ANSWER_SECONDS: Final = 30
_MOST_NAMES: Final = 100  # of one certificate, at Let's Encrypt
_LONGEST_WHY: Final = 400
_MOST_BYTES: Final = 1024 * 1024  # of one answer; a chain has some kilobytes
_WHOLE_SECONDS: Final = 180.0  # of one half of an order; the library gives an order 90
_HANGING: Final = threading.BoundedSemaphore(4)  # halves that an authority in drops may keep from ending
_HOST: Final = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]\Z")
_CONTACT: Final = re.compile(r"[!-~]{1,64}@[!-~]{1,253}\Z")
_KEPT: Final = "the old certificate, in use"

_OUR_WORDS: Final = (requests.exceptions.InvalidURL, requests.exceptions.ContentDecodingError)

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Begun:
    """An order whose host names wait to be proven. answers: by token."""

    client: client.ClientV2
    order: messages.OrderResource
    challenges: tuple[messages.ChallengeBody, ...]
    answers: Mapping[str, str]
    key_pem: str


def new_account_key() -> str:
    """Return a fresh key for an account, as PEM."""
    return _new_key()


def require_acme(settings: Mapping[str, str]) -> None:
    """Raise BadCredential unless a certificate can be ordered with these settings."""
    domains = settings["domains"].split()
    odd = [domain for domain in domains if not _HOST.match(domain)]
    if odd or not 0 < len(domains) <= _MOST_NAMES:
        raise BadCredential(
            f"{', '.join(odd) or 'so many names'} can't be in a certificate that HTTP-01 proves",
            todo="name hosts in lower-case ASCII with blanks between them; wildcards need another way",
        )
    if not _CONTACT.match(settings["contact"].removeprefix("mailto:")):
        raise BadCredential("the contact must be a mail address, to which the authority writes about trouble")
    if settings["terms"] != _AGREED:
        raise BadCredential(
            "nobody has agreed to the authority's terms of service", todo="read them, then give --set terms=agreed"
        )


async def order(settings: Mapping[str, str], secrets: Mapping[str, str], shelf: ChallengeShelf) -> Renewed:
    """Return a new certificate and its key beside the other secrets.

    settings: directory (its URL), domains, contact, terms=agreed; ca: a file with the authority of the directory's own
    certificate; eab_kid: for authorities that want an account of theirs (RFC 8555 section 7.3.4; its key is the secret
    eab_hmac_key). Raises RenewalFailed with the authority's words; what was begun is forgotten there by itself.
    """
    begun = await _on_a_thread(lambda: _begin(settings, secrets))
    try:
        for token, answer in begun.answers.items():
            await shelf.put(token, answer)
        chain_pem = await _on_a_thread(lambda: _finish(begun))
    except BusError as error:
        raise RenewalFailed(f"the answers to the authority can't be kept: {error.what}", kept=_KEPT) from error
    finally:
        for token in begun.answers:
            try:
                await shelf.remove(token)
            except BusError:
                continue  # it is not given any more after an hour, and tidied by the next order
    return Renewed({**secrets, "certificate_pem": chain_pem, "key_pem": begun.key_pem})


async def suggested_renewal(settings: Mapping[str, str], secrets: Mapping[str, str]) -> datetime | None:
    """Return when the authority would like the certificate to be renewed (RFC 9773), None when it does not say.

    It is a moment by chance within the window that the authority tells, another one at each call. Raises RenewalFailed.
    """

    def ask() -> datetime | None:
        at, _ask_again = _open(settings, secrets).renewal_time(secrets["certificate_pem"].encode())
        return at.astimezone(UTC) if at is not None else None

    return await _on_a_thread(ask)


def names_differ(settings: Mapping[str, str], secrets: Mapping[str, str]) -> bool:
    """Tell whether the certificate is for other hosts than the settings want."""
    own = x509.load_pem_x509_certificates(secrets["certificate_pem"].encode())[0]
    return set(own_names(own)) != set(settings["domains"].split())


def _begin(settings: Mapping[str, str], secrets: Mapping[str, str]) -> _Begun:
    asked = _open(settings, secrets)
    _log_in(asked, settings, secrets)
    key_pem = _new_key()
    placed = asked.new_order(crypto_util.make_csr(key_pem.encode(), settings["domains"].split()))
    wanted = []
    for authorization in placed.authorizations:
        if authorization.body.status == messages.STATUS_VALID:
            continue  # proven not long ago
        offered = [one for one in authorization.body.challenges if isinstance(one.chall, challenges.HTTP01)]
        if not offered:
            name = authorization.body.identifier.value
            raise RenewalFailed(f"the authority offers no HTTP-01 for {name}", kept=_KEPT)
        wanted.append(offered[0])
    answers = {one.chall.encode("token"): one.chall.validation(asked.net.key) for one in wanted}
    return _Begun(asked, placed, tuple(wanted), answers, key_pem)


def _finish(begun: _Begun) -> str:
    for one in begun.challenges:
        begun.client.answer_challenge(one, one.chall.response(begun.client.net.key))
    chain_pem: str = begun.client.poll_and_finalize(begun.order).fullchain_pem
    x509.load_pem_x509_certificates(chain_pem.encode())
    return chain_pem


def _open(settings: Mapping[str, str], secrets: Mapping[str, str]) -> client.ClientV2:
    """Return a client of the directory that speaks with the directory's own server and with nobody else."""
    key = JWK.load(secrets[ACCOUNT_KEY].encode())
    network = client.ClientNetwork(key, alg=ES256, user_agent="Todoku", timeout=_ANSWER_SECONDS)
    network.session.trust_env = False
    network.session.headers["Accept-Encoding"] = "identity"  # what is unpacked has no bound
    network.session.headers["Connection"] = "close"  # an order may be left at any moment, and nobody would close it
    network.session.adapters.clear()
    network.session.mount("", _OneServer(settings["directory"], settings.get("ca", "")))
    return client.ClientV2(client.ClientV2.get_directory(settings["directory"], network), network)


def _log_in(asked: client.ClientV2, settings: Mapping[str, str], secrets: Mapping[str, str]) -> None:
    """Make the account, or find the one that the key has already (RFC 8555 section 7.3.1)."""
    binding = None
    if settings.get("eab_kid"):
        public = JWK.load(secrets[ACCOUNT_KEY].encode()).public_key()
        hmac_key = secrets.get("eab_hmac_key", "")
        binding = messages.ExternalAccountBinding.from_data(public, settings["eab_kid"], hmac_key, asked.directory)
    wish = messages.NewRegistration.from_data(
        email=settings["contact"].removeprefix("mailto:"),
        terms_of_service_agreed=True,
        external_account_binding=binding,
    )
    try:
        asked.new_account(wish)
    except acme_errors.ConflictError as found:
        asked.net.account = messages.RegistrationResource(body=messages.Registration(), uri=found.location)


class _OneServer(HTTPAdapter):
    """Refuses every address but those of the directory's own scheme, host and port.

    A directory names the addresses that are asked next. It must not be able to name machines that only we can reach
    (SSRF), and a name that is resolved to another address at the second time gains nothing. Also redirects come here.
    """

    def __init__(self, directory: str, ca: str) -> None:
        """ca: a file with the authority to believe instead of the usual ones, "" = those."""
        super().__init__()
        self._origin = _origin(directory)
        self._verify = ca or True

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send what goes to the one server; raises InvalidURL."""
        if _origin(request.url or "") != self._origin:
            host = urlsplit(request.url or "").hostname
            raise requests.exceptions.InvalidURL(f"the directory sends us to another server, {host}")
        answer = super().send(request, *args, **{**kwargs, "verify": self._verify, "stream": True})
        try:
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise requests.exceptions.ContentDecodingError("an answer is packed, though nobody asked for that")
            content = answer.raw.read(_MOST_BYTES + 1, decode_content=False)
        finally:
            answer.raw.close()
        if len(content) > _MOST_BYTES:
            raise requests.exceptions.InvalidURL("an answer is larger than any that there should be")
        answer.raw = HTTPResponse(io.BytesIO(content), answer.raw.headers, answer.raw.status, preload_content=False)
        return answer


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _new_key() -> str:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(*form).decode("ascii")


async def _on_a_thread(call: Callable[[], Answer]) -> Answer:
    """Return what the call returns, or raise RenewalFailed, after _WHOLE_SECONDS at the latest.

    The thread is a daemon: an authority that is slow must not keep a process from ending. One that answers in drops
    keeps a few threads at the most.
    """
    if not _HANGING.acquire(blocking=False):
        raise RenewalFailed("the authority has not answered earlier orders to their end", kept=_KEPT)
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()

    def settle(answer: Answer | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(answer)  # type: ignore[arg-type]  # it is what the call returned

    def run() -> None:
        answer, failed = None, None
        try:
            answer = call()
        except RenewalFailed as error:
            failed = error
        except Exception as error:  # noqa: BLE001  # odd answers break the library in any way, and somebody waits
            failed = RenewalFailed(f"the authority did not give a certificate: {_words(error)}", kept=_KEPT)
            failed.__cause__ = error
        finally:
            _HANGING.release()
        try:
            loop.call_soon_threadsafe(settle, answer, failed)
        except RuntimeError:
            return  # the loop is closed

    threading.Thread(target=run, name="acme", daemon=True).start()
    try:
        async with asyncio.timeout(_WHOLE_SECONDS):
            return await future
    except TimeoutError as error:
        raise RenewalFailed("the authority did not answer in time, or only in drops", kept=_KEPT) from error


def _words(error: BaseException) -> str:
    """Return what went wrong on one printable line; an authority's words hold nothing secret of ours."""
    said = str(error) or type(error).__name__
    if isinstance(error, requests.RequestException) and not isinstance(error, _OUR_WORDS):
        said = f"it can't be asked ({type(error).__name__})"
    elif not isinstance(error, acme_errors.Error | requests.RequestException):
        said = f"its answer is not understood ({type(error).__name__}: {said})"
    return "".join(char if char.isprintable() else " " for char in said[:_LONGEST_WHY]).strip()
