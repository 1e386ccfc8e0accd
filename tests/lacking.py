"""What a test needs of the machine, and what becomes of it where that is lacking.

It is skipped, with the reason. Where CI=true it fails instead: a machine that is set up for the tests has all
of it, and nobody would notice there what a skipped test no longer shows. The fixtures are known to all tests
through conftest.py.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

BROWSERS = "chromium", "chromium-browser", "google-chrome"


def lacking(reason: str) -> NoReturn:
    """Ends the test or fixture that calls it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI=true says that nothing is lacking", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def as_root() -> None:
    """For owners, devices and mounts of other filesystems."""
    if os.geteuid() != 0:
        lacking("the tests do not run as root")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The command of a browser. Ubuntu's chromium is a stub for a snap, which containers cannot run."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    lacking(f"there is none of {', '.join(BROWSERS)}")
