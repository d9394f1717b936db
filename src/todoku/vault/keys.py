"""The key of a content: `<project>/<sha256 hex>`."""

from __future__ import annotations

import hashlib
import re

from todoku.kernel.ids import require_subject_token
from todoku.vault.errors import VaultCorrupt, VaultMissing

_KEY = re.compile(r"([a-z0-9_-]{1,64})/([0-9a-f]{64})\Z")


def sha256_hex(content: bytes) -> str:
    """Return the name of the content."""
    return hashlib.sha256(content).hexdigest()


def key_of(project_id: str, sha256: str) -> str:
    """Return the key; raises ValueError when the project id can't be a path part."""
    return f"{require_subject_token(project_id)}/{sha256}"


def split_key(key: str) -> tuple[str, str]:
    """Return project id and hash; raises VaultMissing for what can't be a key, so no path leads out of the vault."""
    match = _KEY.match(key)
    if match is None:
        raise VaultMissing(f"{key!r} is no key of a vault")
    return match[1], match[2]


def require_same(key: str, sha256: str, content: bytes) -> bytes:
    """Return the content when it is what the key names; raises VaultCorrupt."""
    if sha256_hex(content) != sha256:
        raise VaultCorrupt(
            f"the {len(content):,} bytes under {key} are not the ones that were put",
            kept="the damaged bytes, untouched",
            todo="restore the file from a backup, and check the disk",
        )
    return content
