from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from todoku.kernel.errors import ConfigurationError
from todoku.vault import open_vault
from todoku.vault.errors import VaultCorrupt, VaultMissing
from todoku.vault.keys import key_of, require_same, sha256_hex, split_key

DIGEST = hashlib.sha256(b"mail").hexdigest()


def test_key_goes_there_and_back() -> None:
    assert split_key(key_of("p-1", sha256_hex(b"mail"))) == ("p-1", DIGEST)


@pytest.mark.parametrize(
    "key", ["", DIGEST, f"/{DIGEST}", f"../{DIGEST}", f"p/{DIGEST}\n", f"p/{DIGEST.upper()}", f"p/{DIGEST}/x", "p/abc"]
)
def test_what_is_no_key_is_missing_and_never_a_path(key: str) -> None:
    with pytest.raises(VaultMissing):
        split_key(key)


def test_other_bytes_are_never_handed_out() -> None:
    assert require_same("p/x", DIGEST, b"mail") == b"mail"
    with pytest.raises(VaultCorrupt, match="p/x"):
        require_same("p/x", DIGEST, b"mai1")


def test_unknown_kind_of_vault_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ftp://"):
        open_vault("ftp://example.com/x", tmp_path)
