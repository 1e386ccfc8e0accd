"""The lines of a record file, plain or gzip, as far as they can be read.

Job: complete lines with their offsets in the uncompressed bytes; what cannot be read is told, never raised:
a last line that was cut off, a gzip member that was, damage within one (what follows it up to the next
member is lost). Limits: one line is at most LINE_MAX bytes; memory is that of the longest line. Errors:
OSError. Threading: pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

LINE_MAX = 64 * 1024**2
_STEP = 1 << 20
_MEMBER = 31  # zlib's word for a gzip member
_MAGIC = b"\x1f\x8b\x08"


@dataclass(slots=True)
class Trouble:
    """What was wrong with a file. `is_cut`: its end is missing, as after a kill; `damage`: what else, in
    sentences."""

    is_cut: bool = False
    damage: list[str] = field(default_factory=list)


def read_lines(path: Path, trouble: Trouble, begin: int = 0) -> Iterator[tuple[int, bytes]]:
    """(offset, line without its end), from the line on that begins at `begin`. The last one comes too when
    nothing ends it: whether it is whole shows when it is parsed."""
    with path.open("rb") as file:
        if file.peek(3)[:3] == _MAGIC:
            yield from _split(_without(_inflated(file, trouble), begin), trouble, begin)
        else:
            file.seek(begin)
            yield from _split(_pieces(file), trouble, begin)


def _without(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    for piece in pieces:
        if size < len(piece):
            yield piece[size:]
        size = max(0, size - len(piece))


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_STEP):
        yield piece


def _split(pieces: Iterator[bytes], trouble: Trouble, offset: int) -> Iterator[tuple[int, bytes]]:
    rest = b""
    for piece in pieces:
        if b"\n" not in piece and len(rest) + len(piece) <= LINE_MAX:
            rest += piece
            continue
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield offset, line
            offset += len(line) + 1
        if len(rest) > LINE_MAX:
            trouble.damage.append(f"a line at byte {offset} is longer than {LINE_MAX} bytes")
            offset, rest = offset + len(rest), b""
    if rest:
        yield offset, rest


def _inflated(file: BinaryIO, trouble: Trouble) -> Iterator[bytes]:
    waiting = b""
    while waiting or (waiting := file.read(_STEP)):
        engine = zlib.decompressobj(_MEMBER)
        try:
            while not engine.eof:
                piece = engine.decompress(waiting, _STEP)
                waiting = engine.unconsumed_tail
                if piece:
                    yield piece
                if not engine.eof and not waiting and not (waiting := file.read(_STEP)):
                    trouble.is_cut = True
                    return
        except zlib.error as error:
            trouble.damage.append(f"a gzip member is damaged ({error}); what it held from there on is lost")
            yield b"\n"
            waiting = _next_member(file, waiting[1:])
            continue
        waiting = engine.unused_data.lstrip(b"\0")


def _next_member(file: BinaryIO, data: bytes) -> bytes:
    """From the next thing on that looks like the beginning of a member."""
    while True:
        found = data.find(_MAGIC)
        if found >= 0:
            return data[found:]
        more = file.read(_STEP)
        if not more:
            return b""
        data = data[-2:] + more
