"""Films for tests, and how they are read the plain way, whole: by PyAV alone. Threading: the test's own."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import av

from discordfs.clipping.model import Facts
from discordfs.clipping.video import RangeFile
from discordfs.emulator.films import BITS, number_in


@dataclass
class Counted:
    """Bytes that are read by ranges, and what was asked for."""

    data: bytes
    asked: list[tuple[int, int]] = field(default_factory=list)

    def read(self, start: int, length: int) -> bytes:
        assert 0 <= start < start + length <= len(self.data)
        self.asked.append((start, length))
        return self.data[start : start + length]

    @property
    def fetched(self) -> int:
        return sum(length for _, length in self.asked)

    def file(self) -> RangeFile:
        return RangeFile(self.read, len(self.data))


def as_read(data: bytes) -> tuple[Facts, list[int]]:
    """The facts by decoding all of it, as it is coded (not turned), and the numbers of its frames."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        numbers = [number_of(frame) for frame in container.decode(stream)]
        rate, sounds = float(stream.average_rate or 0), len(container.streams.audio)
        size = stream.codec_context.width, stream.codec_context.height
        codec = stream.codec_context.codec.canonical_name
        return Facts(len(numbers) / rate, *size, codec, bool(sounds)), numbers


def frame_of(data: bytes) -> Any:
    """The first frame, or the picture that a PNG is, in rows of red, green and blue."""
    with av.open(io.BytesIO(data)) as container:
        return next(container.decode(video=0)).reformat(format="rgb24")


def number_of(frame: Any) -> int:
    rgb = frame.reformat(format="rgb24")
    return number_in(bytes(rgb.planes[0]), rgb.width, rgb.height, stride=rgb.planes[0].line_size)


def green_at(frame: Any, x: float, y: float) -> int:
    """Of a picture of red, green and blue, at these parts of its width and height."""
    plane = frame.planes[0]
    return int(bytes(plane)[int(y * frame.height) * plane.line_size + 3 * int(x * frame.width) + 1])


def number_turned(frame: Any, turn: int) -> int:
    """The number in a picture that was turned so many degrees clockwise."""

    def value(at: float) -> int:
        x, y = {0: (at, 0.25), 90: (0.75, at), 180: (1 - at, 0.75), 270: (0.25, 1 - at)}[turn]
        return green_at(frame, x, y)

    return sum(1 << bit for bit in range(BITS) if value((bit + 0.5) / BITS) > 127)


def unlike(one: Any, other: Any) -> float:
    """By how much two pictures of a size differ, of 255, on average."""
    size = one.width, one.height
    assert size == (other.width, other.height)
    first, second = (bytes(each.reformat(64, 36, "rgb24").planes[0]) for each in (one, other))
    return sum(abs(a - b) for a, b in zip(first, second, strict=True)) / len(first)
