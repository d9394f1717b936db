"""A JetStream of our own, to be killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from todoku.engines.nats import EmbeddedNats


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EmbeddedNats]:
    own = EmbeddedNats(tmp_path)
    own.start()
    yield own
    own.stop()
