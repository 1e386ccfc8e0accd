"""Fixtures: a server on loopback in which videos are posted, without rate limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import ClipServer, clip_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClipServer]:
    with clip_server(tmp_path) as running:
        yield running
