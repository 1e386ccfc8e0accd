"""Fixtures: a server on loopback, without rate limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import Server, server_on_loopback


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with server_on_loopback(tmp_path) as running:
        yield running
