"""Record by record or all at once: whoever follows the log has the same drive as whoever rebuilds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from discordfs import log, logbook
from discordfs.chunks import packing
from discordfs.follower import Follower
from discordfs.logreading import LogReader
from tests.fs.conftest import CALLER, LOG_CHANNEL, House
from tests.log.conftest import assert_same, seen
from tests.log.recovering import recovered
from tests.log.user import User


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.long) for n in range(1, 10))])
def test_a_follower_has_each_state_that_was_recorded(
    house: House, empty_machine: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Snapshots among the records say what changed as well, and some records come in parts."""
    monkeypatch.setattr(logbook, "SNAPSHOT_RECORDS", 3)
    monkeypatch.setattr(packing, "MAX_PLAIN", 8000)
    monkeypatch.setattr(log, "PART_BYTES", 5000)
    user = User(house, seed)
    with recovered(house, house.store, empty_machine) as found:
        follower = Follower(found.index, LogReader(found.chunks, LOG_CHANNEL))
        for round_ in range(16):
            user.act(user.random.randrange(1, 6))
            if round_ % 4 == 0:
                user.label(b"/d", 12_000)
            house.barrier()
            if round_ % 3:
                follower.follow()
                assert_same(seen(house), found.picture())


@pytest.mark.expects_log("cannot be read", "came damaged", "is gone from the log", "all is said again")
def test_a_follower_passes_over_a_damaged_record_at_the_next_snapshot(
    house: House, empty_machine: Path
) -> None:
    house.put(b"/a", b"a")
    house.barrier()
    with recovered(house, house.store, empty_machine) as found:
        before = found.picture()
        follower = Follower(found.index, LogReader(found.chunks, LOG_CHANNEL))
        house.drive.mkdir(b"/damaged", 0o755, CALLER)
        house.barrier()
        spoil_newest(house)
        follower.follow()
        assert_same(before, found.picture())
        house.drive.mkdir(b"/d", 0o755, CALLER)
        house.barrier()
        follower.follow()
        assert_same(before, found.picture())
        house.uploader.ask_for_record(snapshot=True)
        house.barrier()
        follower.follow()
        assert_same(seen(house), found.picture())


def spoil_newest(house: House) -> None:
    newest = max(house.store._channels[LOG_CHANNEL].messages.values(), key=lambda message: message.id)
    house.store.replace_bytes(newest.attachments[0].id, lambda data: data[:-40] + bytes(40))
