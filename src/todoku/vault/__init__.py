"""Vault: bytes kept by their hash, append-only: raw mails, attachments, campaign content.

Purpose     keep what must never be lost before anybody says "accepted".
Reads       the folder's `packs/` through `index.sqlite3`, or `<prefix>/<project>/<sha256>` of an S3 bucket.
Writes      - `packs/<pid>.<random>.open`: the pack to which a process appends; `.pack` when it is closed, at 64 MB.
            - `index.sqlite3` (SQLite, with -wal and -shm beside it): which content lies where.
            - `packs/gate` and `used`: locks. `index.distrusted`: the index is to be made anew.
Guarantees  - when `put` returns, the bytes survive a power cut: in a pack, fdatasynced, and then in the index.
            - a key names its content: `get` computes the hash and never returns other bytes.
            - a put of bytes that are there stores nothing new, and repairs them when they rotted.
            - a put that failed leaves nothing half under the key; when its process died or the disk failed between pack
              and index, the bytes may be found whole.
            - who opens a vault first puts anew what packs of the dead hold beyond the index.
            - the packs alone are enough: an index that is lost or damaged is made from them when nobody else uses it.
            - memory does not grow with what is kept.
Settings    TODOKU_VAULT_URL ("" = local folder, s3://bucket/prefix; keys and endpoint from the AWS_* environment).
Limits      local: for the processes of one machine (SQLite's log wants shared memory); several machines use S3.
            A local vault that was closed well needs 100 KB of room to be opened. Making an index anew reads every head.
            What an index that lost rows to a disk error does not find is missing until it is made anew.
            Files of the form before packs are left where they are and are not read.
            S3: durable as the bucket is; not tried against a real server in this release (conformance is, on obstore's
            own stores).
Erasure     not built yet. It fits so: overwrite the content in place with zeros and fdatasync, then remove the row; the
            head stays, so that the pack can still be walked. Copies that the index doesn't name (two processes that put
            the same bytes at once) are found by walking the heads. With a key for each guest, the row is all that goes.
"""

from __future__ import annotations

from pathlib import Path

from todoku.kernel.errors import ConfigurationError
from todoku.vault.local import LocalVault
from todoku.vault.objects import ObjectVault
from todoku.vault.types import Stored, Vault

__all__ = ["Stored", "Vault", "open_vault"]


def open_vault(url: str, folder: Path) -> Vault:
    """Return the vault at the URL: "" = the local folder, s3://bucket/prefix = an object store.

    Raises ConfigurationError for any other URL, VaultUnavailable when the folder can't be made or written.
    """
    if not url:
        return LocalVault(folder)
    if url.startswith("s3://"):
        return ObjectVault.from_url(url)
    raise ConfigurationError(f"TODOKU_VAULT_URL must be empty or begin with s3://, not {url!r}")
