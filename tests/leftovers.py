"""What a run leaves outside its own folder: the shared limits of emulators' tokens, one small file each.

They lie where a user's own drives have theirs, so only those go that came during the run and that no
process has open. /tmp/discordfs-UID is made for whoever has no directory of its own below /run.
"""

from __future__ import annotations

import os
from pathlib import Path

from discordfs import registry
from tests.people import NOBODY


def limits() -> set[Path]:
    """All files of limits in the directories that the tests' users have."""
    users = {os.geteuid(), NOBODY} if os.geteuid() == 0 else {os.geteuid()}
    places = [registry.place_of(user) for user in users]
    return {path for place in places for path in place.glob("limits-*")}


def forget_limits(before: set[Path]) -> None:
    """Removes those that were not there before."""
    used = _open_files()
    for path in limits() - before:
        database = path.with_name(path.name.partition("-wal")[0].partition("-shm")[0])
        if str(database) not in used:
            path.unlink(missing_ok=True)
    nobodys = registry.place_of(NOBODY)
    if os.geteuid() == 0 and nobodys.is_dir() and not any(nobodys.iterdir()):
        nobodys.rmdir()


def _open_files() -> set[str]:
    found = set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            found.add(str(descriptor.readlink()))
        except OSError:  # closed meanwhile, or somebody else's
            continue
    return found
