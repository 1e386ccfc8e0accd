from __future__ import annotations

from pathlib import Path

import pytest

from .harness import Emulate, emulate_in


@pytest.fixture
def emulate(tmp_path: Path) -> Emulate:
    """Runs a scenario against an emulator; scenarios of one test share a directory."""
    return emulate_in(tmp_path / "emulator")
