"""Vault: bytes kept by their hash, append-only: raw mails, attachments, campaign content.

Purpose     keep what must never be lost before anybody says "accepted".
Reads       `<folder>/<project>/<2 hex>/<sha256>`, or `<prefix>/<project>/<sha256>` of an S3 bucket.
Writes      the same, `<folder>/tmp` while a put is under way, and `<folder>/log`: what has no fsynced file yet.
Guarantees  - when `put` returns, the bytes survive a power cut: in the log, and as a file whenever the vault is opened.
            - a key names its content: `get` computes the hash and never returns other bytes.
            - a put of bytes that are there stores nothing new, and repairs them when they rotted.
            - a put that failed leaves nothing under the key.
Settings    TODOKU_VAULT_URL ("" = local folder, s3://bucket/prefix; keys and endpoint from the AWS_* environment).
Limits      local: one file for each content, so many small mails cost an inode each; no retention yet.
            Several processes and, on a shared POSIX file system, several machines may use one folder.
            S3: durable as the bucket is; not tried against a real server in this release (conformance is, on obstore's
            own stores).
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
