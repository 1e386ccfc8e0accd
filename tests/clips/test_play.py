"""Clips on a real mount play as what was posted, seek as fast as they must, and cost what they must."""

from __future__ import annotations

import pytest

from tests.clips.shown import film, found, post, take
from tests.mounting import MountedDrive

pytestmark = pytest.mark.usefixtures("fuse_available")


def test_a_clip_reads_as_it_was_posted(drive: MountedDrive) -> None:
    """Else what a player shows is not what was posted."""
    data = film()
    message = post(drive.emulator, "first.mp4", data, text="look")
    take(drive, found(message))
    folder = drive.mountpoint / "clips" / "The server" / "general"
    (path,) = folder.iterdir()
    assert path.name.endswith(" ada - first.mp4")
    assert path.stat().st_size == len(data)
    assert path.read_bytes() == data
