"""Fixtures for the whole house, and what holds for every test.

A test fails when it leaves a thread behind, when the package warns or worse without the test expecting it,
or when a mount or a process that it started is still there.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lacking import as_root, chromium, lacking
from tests.leftovers import forget_limits, limits
from tests.mounting import EmulatorProcess, MountedDrive, new_drive
from tests.people import nobodys_python, readable_house

__all__ = ["as_root", "chromium", "nobodys_python", "readable_house"]  # fixtures for all tests

ROOT = Path(__file__).resolve().parents[1]


# --- a rotating share of the long tests, in a box of time ------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("share", "a share of the long tests")
    group.addoption("--rotate", action="store_true", help="begin elsewhere each day and at each commit")
    group.addoption("--time-box", type=float, metavar="MINUTES", help="begin no test after so long")


def hear_interrupts() -> None:
    """A run that was started in the background ignores Ctrl-C, and so would all that the tests start."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    hear_interrupts()
    minutes = config.getoption("--time-box")
    if minutes:
        config.pluginmanager.register(TimeBox(minutes * 60), "time-box")
    if not hasattr(config, "workerinput"):  # the workers of pytest-xdist leave it to whoever started them
        before = limits()
        config.add_cleanup(lambda: forget_limits(before))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Modules in another order each day: over the days each comes first."""
    if config.getoption("--rotate"):
        seed = f"{time.strftime('%Y-%m-%d')} {_commit()}"
        items.sort(key=lambda item: hashlib.sha256(f"{seed} {item.path.relative_to(ROOT)}".encode()).digest())


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


class TimeBox:
    """Leaves out what would begin after the time is over, and says how much that was."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._left_out = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        if time.monotonic() < self._end:
            return None
        self._left_out += 1
        return True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._left_out:
            terminalreporter.write_line(f"{self._left_out} tests left for another day: the time was over")


# --- noise fails ---------------------------------------------------------------------------------------


EXPECTED_IN = {
    "tests/contract/": ("429 for", "the gateway ended", "the bot may not use MESSAGE_CONTENT"),
    "tests/unit/remote/": ("429 for", "Discord refused", "rate limits are not shared"),
    "tests/unit/store/": ("the cache", "is not the chunk that was posted", "came damaged: once more"),
    "tests/fs/": (
        *("uploading to channel", "gathering", "writing the log"),
        *("cannot be used", "cannot be posted"),
    ),
}
"""Warnings that the faults of a folder's tests are bound to bring, by the text in them."""


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture(autouse=True)
def no_noise(request: pytest.FixtureRequest) -> Iterator[None]:
    """Expected are the warnings of EXPECTED_IN, and those of `@pytest.mark.expects_log("text", …)`."""
    handler = _Warnings()
    logger = logging.getLogger("discordfs")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    place = request.node.path.relative_to(ROOT).as_posix()
    marks = list(request.node.iter_markers("expects_log"))
    expected = [text for mark in marks for text in mark.args]
    expected += [text for folder, texts in EXPECTED_IN.items() if folder in place for text in texts]
    unexpected = [
        record.getMessage()
        for record in handler.records
        if not any(text in record.getMessage() for text in expected)
    ]
    assert not unexpected, f"logged without being expected: {unexpected}"


@pytest.fixture(autouse=True)
def no_leaked_threads() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(5.0)
    alive = [thread.name for thread in left if thread.is_alive()]
    assert not alive, f"threads that outlive the test: {alive}"


# --- real mounts ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def fuse_available() -> None:
    """What a real mount needs."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        lacking("/dev/fuse cannot be opened")


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[EmulatorProcess]:
    """Discord on loopback without rate limits, for one test."""
    with EmulatorProcess(tmp_path / "discord", ["rate_limits=off"]) as process:
        yield process


@pytest.fixture(scope="module")
def module_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """The same, for all tests of a module."""
    with EmulatorProcess(tmp_path_factory.mktemp("discord"), ["rate_limits=off"]) as process:
        yield process


@pytest.fixture
def drive(fuse_available: None, emulator: EmulatorProcess, tmp_path: Path) -> Iterator[MountedDrive]:
    """A volume made by `init` and mounted by `mount`, for one test."""
    with new_drive(emulator, tmp_path / "drive") as mounted:
        yield mounted


@pytest.fixture(scope="module")
def module_drive(
    fuse_available: None, module_emulator: EmulatorProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MountedDrive]:
    """The same, for all tests of a module: they keep out of each other's way."""
    with new_drive(module_emulator, tmp_path_factory.mktemp("drive")) as mounted:
        yield mounted
