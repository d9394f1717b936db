"""The vault in an object store (S3 and what speaks like it), through obstore."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.exceptions import NotFoundError as ObjectNotFoundError
from obstore.store import S3Store

from todoku.vault.errors import VaultError, VaultMissing, VaultUnavailable
from todoku.vault.keys import key_of, require_same, sha256_hex, split_key
from todoku.vault.types import Stored

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_SIDE_BY_SIDE = 32  # requests of one get_many


class ObjectVault:
    """Contents as objects `<prefix>/<project>/<sha256>`, created with a conditional put, so never overwritten."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self._name = name

    @classmethod
    def from_url(cls, url: str, *, retries: int = 4, timeout_seconds: float = 20.0) -> ObjectVault:
        """Open s3://bucket/prefix; region, keys and endpoint come from the AWS_* environment. No request is made.

        retries: of one request, by the client, within timeout_seconds in all.
        """
        limit = timedelta(seconds=timeout_seconds)
        store = S3Store.from_url(
            url,
            client_options={"connect_timeout": timedelta(seconds=5), "timeout": limit},
            retry_config={"max_retries": retries, "retry_timeout": limit},
        )
        return cls(store, url)

    async def put(self, project_id: str, content: bytes) -> Stored:
        """Keep the bytes; see `Vault.put`. Durable as the store promises for an acknowledged PUT."""
        sha256 = sha256_hex(content)
        key = key_of(project_id, sha256)
        try:
            await self._store.put_async(key, content, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return Stored(key, sha256, len(content), created=False)
        except BaseError as error:
            raise VaultUnavailable(
                f"{len(content):,} bytes could not be put in {self._name}: {error}",
                kept="what was put before",
                todo="check bucket, keys and network of the object store",
            ) from error
        return Stored(key, sha256, len(content), created=True)

    async def get(self, key: str) -> bytes:
        """Return the bytes; see `Vault.get`."""
        _, sha256 = split_key(key)
        try:
            answer = await self._store.get_async(key)
            content = bytes(await answer.bytes_async())
        except (FileNotFoundError, ObjectNotFoundError):
            raise VaultMissing(f"the vault has nothing under {key}") from None
        except BaseError as error:
            raise VaultUnavailable(f"{key} can't be read from {self._name}: {error}", todo="try again") from error
        return require_same(key, sha256, content)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | VaultError]:
        """Return the bytes of each key, or why not; see `Vault.get_many`."""
        few = asyncio.Semaphore(_SIDE_BY_SIDE)

        async def one(key: str) -> bytes | VaultError:
            async with few:
                try:
                    return await self.get(key)
                except VaultError as error:
                    return error

        return list(await asyncio.gather(*map(one, keys)))

    async def close(self) -> None:
        """Do nothing; the store holds no state."""
