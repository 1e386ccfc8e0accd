"""What was sealed and not known to be on Discord when the mount ended: whatever has become of it meanwhile,
each thing is said once and nothing is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from discordfs.errors import Unavailable
from tests.fs.conftest import CHANNELS, LOG_CHANNEL, House
from tests.log.conftest import Recover, assert_same, seen
from tests.log.recovering import FastClock, RecordingStore
from tests.log.test_lost_answers import copies_of_all

pytestmark = pytest.mark.expects_log("the network is down", "cannot be posted", "cannot be used")


def spoil_all(outbox: Path, how: Callable[[Path], None], kinds: str) -> int:
    """Does something to the sealed files of these kinds (a byte of the trailer); how many there are."""
    spoiled = [path for path in outbox.glob("*.chunk") if str(path.read_bytes()[-54]) in kinds]
    for path in spoiled:
        how(path)
    return len(spoiled)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("how", [Path.unlink, cut_off, empty])
@pytest.mark.parametrize("kinds", ["1", "2", "12"], ids=["the data", "the record", "both"])
def test_sealed_files_that_are_damaged_are_made_anew(
    make_house: Callable[..., House],
    clock: FastClock,
    recover: Recover,
    monkeypatch: pytest.MonkeyPatch,
    kinds: str,
    how: Callable[[Path], None],
) -> None:
    store = RecordingStore((LOG_CHANNEL, *CHANNELS), clock=clock)
    house = make_house(store=store, clock=clock)
    house.put(b"/a", b"before")
    house.barrier()

    def refuse(*arguments: object) -> None:
        raise Unavailable("the network is down")

    house.put(b"/a", b"rides with its record" * 100)
    with monkeypatch.context() as patch:
        patch.setattr(house.chunks, "post_all", refuse)
        assert not house.uploader.barrier(1.0, lambda status: None)
        house.close()
    assert spoil_all(house.root / "outbox", how, kinds) == len(kinds)
    house.open()
    house.barrier()
    assert house.get(b"/a") == b"rides with its record" * 100
    assert max(map(len, copies_of_all(store.posted))) == 1
    assert_same(seen(house), recover(house, store))
