"""The desk where messages get their signatures, and its threads."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from todoku.delivery.signing.key_folder import KeyFolder
from todoku.delivery.types import Signer
from todoku.kernel.clock import Clock
from todoku.mail.compose import UnsafeAddress, header_domain
from todoku.mail.dkim import sign_messages

# A thread that has signed waits so long for the interpreter's lock while the event loop computes; with the usual 5 ms
# signing fell to 0.6 of its rate beside a busy loop.
_SWITCH_SECONDS = 0.0001
# Messages a thread signs before it looks for other runs' messages: about 25 ms of RSA. The more, the fewer times do two
# threads push each other's words out of their caches: with 16 two of them signed 0.67 of openssl's rate, so 0.80.
_MOST_AT_ONCE = 64


class SigningDesk:
    """Signers for any number of runs that share one set of threads and one folder of keys."""

    def __init__(self, keys: KeyFolder, clock: Clock, *, threads: int = 0) -> None:
        """Prepare. threads: 0 = as many as this process may use cores."""
        self._keys = keys
        self._clock = clock
        self._threads = threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="dkim")

    def signer_of(self, sender_address: str) -> Signer | None:
        """Return the signer for mail From this address; None when neither its domain nor one above has a key."""
        try:
            domain = header_domain(sender_address.rpartition("@")[2]).lower()
        except UnsafeAddress:
            return None  # the composer refuses such a sender with better words
        if not self._keys.keys_of(domain):
            return None
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_SECONDS))
        return _DomainSigner(self, domain)

    def domains(self) -> list[str]:
        """Return the domains that have keys in use."""
        return self._keys.domains()

    def close(self) -> None:
        """Let the threads end when what they have is signed."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def sign(self, contents: Sequence[bytes], domain: str) -> list[bytes]:
        """Return the messages signed with the domain's keys of this moment, in order; raises Unsignable."""
        keys = self._keys.keys_of(domain)
        if not keys or not contents:
            return list(contents)
        signed_at = self._clock.now_utc()
        share = min(_MOST_AT_ONCE, -(-len(contents) // self._threads))
        loop = asyncio.get_running_loop()
        parts = await asyncio.gather(
            *(
                loop.run_in_executor(self._pool, sign_messages, contents[at : at + share], keys, signed_at)
                for at in range(0, len(contents), share)
            )
        )
        return [content for part in parts for content in part]


class _DomainSigner:
    """A delivery.types.Signer for one domain."""

    def __init__(self, desk: SigningDesk, domain: str) -> None:
        self._desk = desk
        self._domain = domain

    async def sign(self, contents: Sequence[bytes]) -> list[bytes]:
        """Return each message with its signature headers in front, in order; raises Unsignable."""
        return await self._desk.sign(contents, self._domain)
