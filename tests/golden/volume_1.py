"""A small volume of format 1 as Discord keeps it: its messages, its key, and what its drive looks like.

Made once, by hand, by the release that brought the format: `python -m tests.golden.volume_1`. It is never
made anew: whatever a release has posted stays readable.
"""

from __future__ import annotations

import json
import os
import random
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from discordfs import log, uploader
from discordfs.chunks import packing
from discordfs.keys import VolumeKeys
from discordfs.log import Lost
from discordfs.remote.base import Attachment, Message
from discordfs.remote.memory import MemoryStore
from discordfs.tenure import Wish
from tests.fs.conftest import CALLER, CHANNELS, LOG_CHANNEL
from tests.log.picture import Picture, Sight, picture
from tests.roles.conftest import Clock, Machine

FOLDER = Path(__file__).parent / "volume-1"


@dataclass(frozen=True, slots=True)
class Golden:
    """The volume as it was found: messages by channel, oldest first; bytes by attachment."""

    volume: bytes
    master: bytes
    messages: tuple[Message, ...]
    attachments: dict[int, bytes]
    picture: Picture

    @property
    def keys(self) -> VolumeKeys:
        return VolumeKeys(self.master)

    def store(self) -> MemoryStore:
        """A Discord that holds it, a moment after the last message."""
        now = self.messages[-1].id >> 22
        store = MemoryStore((LOG_CHANNEL, *CHANNELS), clock=lambda: (now + 1_420_070_400_000 + 1000) * 10**6)
        for message in self.messages:
            room = store._channels[message.channel]
            room.messages[message.id], room.posted_ns[message.id] = message, 0
            store._bytes |= {each.id: self.attachments[each.id] for each in message.attachments}
        return store


# --- as files -------------------------------------------------------------------------------------------


def load() -> Golden:
    known = json.loads((FOLDER / "volume.json").read_text())
    data = (FOLDER / "attachments.bin").read_bytes()
    messages, attachments, begin = [], {}, 0
    for channel, number, author, content, files in known["messages"]:
        for attachment, _, size in files:
            attachments[attachment] = data[begin : begin + size]
            begin += size
        named = tuple(Attachment(*file) for file in files)
        messages.append(Message(number, channel, author, content, named, ""))
    return Golden(
        bytes.fromhex(known["volume"]),
        bytes.fromhex(known["master"]),
        tuple(messages),
        attachments,
        {unquote_to_bytes(path): _sight(known["picture"][path]) for path in known["picture"]},
    )


def _save(machine: Machine) -> None:
    messages = sorted(
        (message for room in machine.store._channels.values() for message in room.messages.values()),
        key=lambda message: message.id,
    )
    files = [
        [
            message.channel,
            message.id,
            message.author,
            message.content,
            [[attachment.id, attachment.name, attachment.size] for attachment in message.attachments],
        ]
        for message in messages
    ]
    sights = picture(machine.drive, machine.index)
    known = {
        "volume": machine.volume.hex(),
        "master": (b"k" * 32).hex(),
        "messages": files,
        "picture": {quote_from_bytes(path): _plain(asdict(sight)) for path, sight in sights.items()},
    }
    FOLDER.mkdir()
    (FOLDER / "volume.json").write_text(json.dumps(known, indent=1) + "\n")
    data = [machine.store._bytes[each.id] for message in messages for each in message.attachments]
    (FOLDER / "attachments.bin").write_bytes(b"".join(data))


def _plain(value: Any) -> Any:
    """Bytes as text, by percent signs."""
    if isinstance(value, bytes):
        return {"bytes": quote_from_bytes(value)}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [*map(_plain, value)] if isinstance(value, tuple) else value


def _sight(known: dict[str, Any]) -> Sight:
    return Sight(**{key: _as_it_was(value) for key, value in known.items()})


def _as_it_was(value: Any) -> Any:
    if isinstance(value, dict):
        return unquote_to_bytes(value["bytes"])
    return tuple(map(_as_it_was, value)) if isinstance(value, list) else value


# --- how it was made --------------------------------------------------------------------------------------


def _make(machine: Callable[[str], Machine], clock: Clock) -> Machine:
    """Two machines, one after the other; records of every type, of one part and of several, one of the first
    machine that came too late; bytes that ride with a record, and bytes in chunks of their own."""
    first = machine("first")
    first.open()
    for step in (_begin, _change, _say_everything, _end):
        step(first)
        first.barrier()
        clock.pass_s(100)
    second = machine("second")
    second.recover()
    second.assume(Wish.TAKE_OVER)
    first.put(b"/too late", b"after the take-over")
    with suppress(Lost):
        first.uploader.barrier(10, lambda status: None)
    second.open()
    _go_on(second)
    second.barrier()
    second.uploader.log.end()
    return second


def _begin(it: Machine) -> None:
    drive, rng = it.drive, random.Random(1)
    drive.mkdir(b"/d", 0o755, CALLER)
    drive.mkdir(b"/d/setgid", 0o2775, CALLER)
    it.put(b"/d/small", b"a small file\n")
    it.put(b"/d/large", rng.randbytes(35_000))
    it.put(b"/d/text", b"".join(b"line %d\n" % number for number in range(3000)))
    it.put(b"/empty", b"")
    it.put(b"/Ger\xe4usch\n", b"no text for a name")
    drive.link(b"/d/small", b"/hard link")
    drive.symlink(b"/symlink", b"d/sm\xffall", CALLER)
    drive.mknod(b"/fifo", stat.S_IFIFO | 0o640, 0, CALLER)
    drive.mknod(b"/null", stat.S_IFCHR | 0o666, os.makedev(1, 3), CALLER)
    drive.utimens(b"/d/text", -1, -1_234_567_890_123_456_789)


def _change(it: Machine) -> None:
    handle = it.drive.open(b"/d/large", os.O_RDWR).handle
    it.drive.write(handle, b"over it", 9_999)
    it.drive.write(handle, b"beyond a hole", 100_000)
    it.drive.release(handle)
    it.put(b"/d/text", b"another text")
    it.drive.rename(b"/empty", b"/Ger\xe4usch\n")
    it.drive.setxattr(b"/d", b"user.large", random.Random(2).randbytes(20_000), 0)
    it.drive.setxattr(b"/d/small", b"user.\xff", b"", 0)


def _say_everything(it: Machine) -> None:
    it.uploader.ask_for_record(snapshot=True)


def _end(it: Machine) -> None:
    it.drive.truncate(b"/d/text", 7)
    it.drive.unlink(b"/fifo")
    it.drive.chown(b"/d/large", 65_534, 4_294_967_294)
    it.put(b"/d/setgid/last", b"of the first machine" * 100)


def _go_on(it: Machine) -> None:
    it.drive.rename(b"/d/setgid", b"/moved")
    it.put(b"/moved/first", b"of the second machine" * 50)
    it.drive.removexattr(b"/d/small", b"user.\xff")
    it.drive.unlink(b"/hard link")


def _machines(folder: Path, clock: Clock) -> Iterator[Machine]:
    store = MemoryStore((LOG_CHANNEL, *CHANNELS), clock=clock)
    for name in ("first", "second"):
        yield Machine(folder / name, store, clock)


def main() -> None:
    """Makes the volume, where there is none."""
    packing.MAX_PLAIN = 10_000  # type: ignore[attr-defined]
    log.PART_BYTES, uploader._RIDER_BYTES = 6_000, 4_000
    clock, made = Clock(), []
    with tempfile.TemporaryDirectory() as folder:
        machines = _machines(Path(folder), clock)

        def machine(_: str) -> Machine:
            made.append(next(machines))
            return made[-1]

        try:
            _save(_make(machine, clock))
        finally:
            for each in made:
                each.close()
                each.loop.stop()


if __name__ == "__main__":
    main()
