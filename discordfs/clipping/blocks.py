"""A clip's bytes as blocks: where each lies in the attachment, and sealed for the disk cache.

What the disk holds is opened, and so verified, at each read: a bit that turned there is fetched anew and
never played. Nothing is compressed, so that a block's place on disk is known beforehand; each seal has a
random nonce, so that nothing depends on Discord giving the same bytes twice. No I/O. Errors: Damaged.
Threading: values never change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from discordfs.codec import UID_SIZE
from discordfs.errors import Damaged
from discordfs.keys import VolumeKeys, derive
from discordfs.model import RandomBytes

CLIP_BLOCK = 32 * 1024
"""Bytes of a block: what players read at once. A jump in a video costs one block more than what is needed,
half a one at each end; with the drive's 256 KiB that would often be more than the frames themselves."""

RUN = 512
"""Blocks of one request, at most."""

_NONCE = 12
_OVERHEAD = _NONCE + 16  # and the tag
_PURPOSE = b"discordfs 1 clip"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a clip's bytes are: the ids of attachment, channel and message, and its size in bytes."""

    clip: int
    channel: int
    message: int
    size: int


class ClipBlocks:
    """The blocks of one clip. `uid` stands for it in the cache, which chunks share: theirs are random."""

    __slots__ = ("_aead", "_random_bytes", "offsets", "place", "uid")

    def __init__(self, place: Place, keys: VolumeKeys, volume: bytes, random_bytes: RandomBytes) -> None:
        self.place = place
        self.uid = blake3(_PURPOSE + place.clip.to_bytes(8, "little")).digest(length=UID_SIZE)
        self._aead = AESGCM(derive(keys.data, volume + self.uid, _PURPOSE))
        self._random_bytes = random_bytes
        sealed = CLIP_BLOCK + _OVERHEAD
        count = -(-place.size // CLIP_BLOCK)
        self.offsets = [*range(0, count * sealed, sealed), place.size + count * _OVERHEAD]
        """Of each block as it is sealed on disk, and of their end."""

    def __str__(self) -> str:
        return f"clip {self.place.clip}"

    def span(self, run: range) -> tuple[int, int]:
        """(start, length) of adjacent blocks in the attachment."""
        start = run.start * CLIP_BLOCK
        return start, min(run.stop * CLIP_BLOCK, self.place.size) - start

    def seal(self, number: int, plain: bytes | memoryview) -> bytes:
        nonce = self._random_bytes(_NONCE)
        return nonce + self._aead.encrypt(nonce, plain, self._context(number))

    def open(self, number: int, sealed: memoryview) -> bytes:
        """Raises Damaged for what was not sealed as this block of this clip."""
        try:
            plain = self._aead.decrypt(bytes(sealed[:_NONCE]), sealed[_NONCE:], self._context(number))
        except (InvalidTag, ValueError):
            raise Damaged(f"block {number} of clip {self.place.clip} is not what was kept") from None
        return plain

    def runs(self, numbers: Iterable[int], longest: int) -> list[range]:
        """Ascending numbers as runs of neighbours, each of at most `longest`, and RUN."""
        runs: list[range] = []
        for number in numbers:
            if runs and runs[-1].stop == number and len(runs[-1]) < min(longest, RUN):
                runs[-1] = range(runs[-1].start, number + 1)
            else:
                runs.append(range(number, number + 1))
        return runs

    def _context(self, number: int) -> bytes:
        return number.to_bytes(8, "little") + self.place.size.to_bytes(8, "little")
