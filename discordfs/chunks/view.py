"""A chunk made ready for reading: where each block lies in which attachment, and the key that opens it.

No I/O. Errors: Damaged for a block table that does not fit the chunk: the index is wrong, or the footer.
Threading: a View never changes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from discordfs.codec import ChunkCipher, block_count, block_offsets, plain_length
from discordfs.errors import Damaged
from discordfs.keys import VolumeKeys
from discordfs.model import CHUNK_SIZE, ChunkRef, Kind


@dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes at `start` of an attachment."""

    attachment: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class View:
    """A chunk made ready for reading. `offsets` are of its blocks, `ends` of its attachments, both in the
    chunk as posted."""

    chunk: ChunkRef
    cipher: ChunkCipher
    offsets: Sequence[int]
    ends: Sequence[int]

    def __str__(self) -> str:
        return f"chunk {self.chunk.uid.hex()}"

    @property
    def uid(self) -> bytes:
        return self.chunk.uid

    def attachment(self, number: int) -> int:
        """Which attachment holds the block. Damaged when it is none, or not the whole block."""
        index = bisect_right(self.ends, self.offsets[number])
        if index >= len(self.ends) or self.offsets[number + 1] > self.ends[index]:
            raise Damaged(f"chunk {self.chunk.uid.hex()} has no attachment with block {number}")
        return index

    def length(self, number: int) -> int:
        return self.offsets[number + 1] - self.offsets[number]

    def plain_length(self, number: int) -> int:
        return plain_length(self.chunk.plain_size, number)

    def runs(self, numbers: Iterable[int], longest: int, most: int = CHUNK_SIZE) -> list[range]:
        """Ascending block numbers as runs of neighbours within one attachment, each of at most `longest`
        blocks and `most` bytes (but at least one block)."""
        runs: list[range] = []
        for number in numbers:
            last = runs[-1] if runs else range(0)
            joins = (
                last
                and last.stop == number
                and len(last) < longest
                and self.offsets[number + 1] - self.offsets[last.start] <= most
                and self.attachment(last.start) == self.attachment(number)
            )
            if joins:
                runs[-1] = range(last.start, number + 1)
            else:
                runs.append(range(number, number + 1))
        return runs

    def span(self, run: range) -> Span:
        """Where the sealed blocks of a run lie."""
        index = self.attachment(run.start)
        begin = self.ends[index - 1] if index else 0
        start, end = self.offsets[run.start], self.offsets[run.stop]
        return Span(self.chunk.attachments[index].id, start - begin, end - start)

    def open(self, number: int, sealed: bytes | memoryview) -> bytes:
        return self.cipher.open_block(number, sealed, self.plain_length(number))


def view_of(chunk: ChunkRef, keys: VolumeKeys, volume: bytes, kind: Kind = Kind.DATA) -> View:
    """Damaged when the chunk's block table and its size do not agree."""
    offsets = block_offsets(chunk.blocks)
    if len(offsets) - 1 != block_count(chunk.plain_size):
        raise Damaged(f"chunk {chunk.uid.hex()} has another number of blocks than its size says")
    ends = list(accumulate(attachment.size for attachment in chunk.attachments))
    return View(chunk, ChunkCipher(keys, volume, chunk.uid, kind), offsets, ends)
