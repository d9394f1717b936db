"""A NATS of this room's own, so that its readers share their place in the stream with nobody."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from todoku.engines.nats import EmbeddedNats


@pytest.fixture(scope="session")
def own_nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    engine = EmbeddedNats(tmp_path_factory.mktemp("intake-chaos-nats"))
    try:
        yield engine.start()
    finally:
        engine.stop()
