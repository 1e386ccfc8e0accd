"""mount.py, which people run before they have installed anything."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_without_the_packages_it_says_in_one_line_what_to_install(tmp_path: Path) -> None:
    done = run("-S", "mount.py", str(tmp_path))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "discord" in done.stderr
    assert "make demo" in done.stderr


def test_with_them_it_is_the_command(tmp_path: Path) -> None:
    done = run("mount.py", str(tmp_path / "missing"))
    assert done.returncode not in (0, 1), done.stderr
    assert "missing" in done.stderr


def test_it_asks_for_every_package_that_the_project_needs() -> None:
    text = (ROOT / "mount.py").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {line.partition(">=")[0].lower() for line in project["dependencies"]}
    named = {
        distribution.lower()
        for module, distributions in packages_distributions().items()
        for distribution in distributions
        if f'"{module}"' in text
    }
    assert wanted <= named
