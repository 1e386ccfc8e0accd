"""The example is what this release makes: whoever looks at it sees what they will get."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.mounting import ROOT

EXAMPLES = ROOT / "examples"
LARGEST = 1_000_000  # bytes in all, as every clone has them
_VERSIONS = re.compile(rb'("(?:discord\.py_)?version": )"[^"]*"')


def test_the_example_is_made_again_byte_for_byte(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/make_examples.py", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, cwd=ROOT, check=True, timeout=120)
    made, kept = contents(tmp_path / "archive"), contents(EXAMPLES / "archive")
    assert sorted(made) == sorted(kept), "run `make examples`"
    assert [name for name in made if made[name] != kept[name]] == [], "run `make examples`"
    assert sum(map(len, kept.values())) < LARGEST


def contents(directory: Path) -> dict[str, bytes]:
    """Each file; what versions made the run is left out."""
    return {
        path.relative_to(directory).as_posix(): _VERSIONS.sub(rb'\1""', path.read_bytes())
        for path in directory.rglob("*")
        if path.is_file()
    }
