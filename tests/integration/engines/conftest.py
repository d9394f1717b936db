"""Homes for real engines."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def home() -> Iterator[Path]:
    """Give a folder that every user can walk into; pytest's own are private to us."""
    folder = Path(tempfile.mkdtemp(prefix="todoku-engines-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
