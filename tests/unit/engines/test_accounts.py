from __future__ import annotations

import os
from pathlib import Path

import pytest

from todoku.engines.accounts import Account, may_pass

STRANGER = Account("stranger", 54_321, 54_321, (54_321,))


def make_inner(tmp_path: Path) -> Path:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    return inner


def open_up(folder: Path) -> None:
    """Make everything above passable for all, so that a test decides by its own folder alone."""
    for part in folder.parents:
        if part.stat().st_uid == os.geteuid() and not part.stat().st_mode & 0o001:
            part.chmod(part.stat().st_mode | 0o011)


def test_stranger_passes_where_everybody_may(tmp_path: Path) -> None:
    inner = make_inner(tmp_path)
    open_up(inner)
    inner.chmod(0o711)
    assert may_pass(inner, STRANGER)


def test_stranger_stops_at_one_private_folder_on_the_way(tmp_path: Path) -> None:
    inner = make_inner(tmp_path)
    open_up(inner)
    inner.parent.chmod(0o700)
    assert not may_pass(inner, STRANGER)


def test_owner_bits_count_for_the_owner_even_when_others_have_more(tmp_path: Path) -> None:
    inner = make_inner(tmp_path)
    open_up(inner)
    inner.chmod(0o077)
    me = Account("me", os.geteuid(), os.getegid(), ())
    assert not may_pass(inner, me)


@pytest.mark.parametrize(("mode", "passes"), [(0o710, True), (0o701, False)])
def test_group_bits_count_for_members(tmp_path: Path, mode: int, passes: bool) -> None:
    inner = make_inner(tmp_path)
    open_up(inner)
    inner.chmod(mode)
    member = Account("member", 54_321, 54_321, (inner.stat().st_gid,))
    assert may_pass(inner, member) is passes
