"""Which drives are mounted here: one small file a mount, in a directory that depends on the user alone.

No environment variable decides where that is, as a mount made at boot, by cron or through sudo must be
found from a shell too. Entries of processes that are gone are removed by whoever reads them.
Threading: any process; files appear whole, by a rename.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from discordfs.errors import ConfigError, MissingError

FILESYSTEM_TYPE = "fuse.discordfs"


@dataclass(frozen=True, slots=True)
class Mount:
    """A running mount. `started` is the process's start in clock ticks since boot (proc(5), stat, field
    22): with it a process id names one process for ever."""

    mountpoint: str
    state_dir: str
    pid: int
    started: int

    @property
    def is_running(self) -> bool:
        return start_of(self.pid) == self.started


def start_of(pid: int) -> int:
    """When the process started, in ticks since boot; 0 when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def runtime_dir(uid: int) -> Path:
    """Where this user's mounts are listed, and what their processes share: made if absent, 0700."""
    path = place_of(uid)
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid or status.st_mode & 0o077:
        raise ConfigError(f"{path} does not belong to this user alone: remove it")
    return path


def place_of(uid: int) -> Path:
    """The same directory, whether it is there or not."""
    own = Path("/run") if uid == 0 else Path(f"/run/user/{uid}")
    if own.is_dir() and os.access(own, os.W_OK):
        return own / "discordfs"
    return Path("/tmp") / f"discordfs-{uid}"


def _places() -> list[Path]:
    """Root sees everybody's."""
    uid = os.geteuid()
    places = [place_of(uid)]
    if uid == 0:
        places += [*Path("/run/user").glob("*/discordfs"), *Path("/tmp").glob("discordfs-*")]
    return [place for place in places if place.is_dir()]


def _file_name(mount: Mount) -> str:
    """Of a process's own, so that whoever clears away a dead one's never takes that of its successor."""
    return f"{hashlib.sha256(os.fsencode(mount.mountpoint)).hexdigest()[:32]}.{mount.pid}.json"


def add(mountpoint: str, state_dir: str) -> Mount:
    """Lists this process's mount."""
    mount = Mount(mountpoint, state_dir, os.getpid(), start_of(os.getpid()))
    path = runtime_dir(os.geteuid()) / _file_name(mount)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(asdict(mount)), encoding="utf-8")
    os.replace(draft, path)
    return mount


def remove(mount: Mount) -> None:
    (runtime_dir(os.geteuid()) / _file_name(mount)).unlink(missing_ok=True)


def running() -> list[Mount]:
    """The mounts there are, by mountpoint; entries of dead processes are removed on the way."""
    found: dict[str, Mount] = {}
    for place in _places():
        for path in sorted(place.glob("*.json")):
            mount = _read(path)
            if mount is not None and mount.is_running:
                found[mount.mountpoint] = mount
            else:
                with contextlib.suppress(OSError):
                    path.unlink()
    return [found[name] for name in sorted(found)]


def _read(path: Path) -> Mount | None:
    try:
        return Mount(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def find(mountpoint: str) -> Mount:
    """The running mount at an absolute path. Raises MissingError."""
    for mount in running():
        if mount.mountpoint == mountpoint:
            return mount
    raise MissingError(f"no discordfs drive is mounted at {mountpoint}")


def mounted_types(mountpoint: str) -> list[str]:
    """The types of what the kernel has mounted at this path, the oldest first."""
    types = []
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        _source, place, kind, *_ = line.split(" ")
        if _unescape(place) == mountpoint:
            types.append(kind)
    return types


def _unescape(text: str) -> str:
    """Space, tab, newline and backslash stand as octal in /proc/mounts (proc(5))."""
    for code in ("040", "011", "012", "134"):
        text = text.replace("\\" + code, chr(int(code, 8)))
    return text
