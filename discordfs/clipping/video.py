"""What a video tells about itself, and one picture of it, out of as few of its bytes as that takes.

FFmpeg (through PyAV) reads a file that fetches ranges: the index, wherever it stands, and a key frame. A
picture that is nearly all dark is passed over for one further on. What is read is a stranger's file: only
formats without references to other files are opened, and bytes, packets and pixels are bounded, so that
none of them hangs or fills the memory.
Limits: 2 MiB are fetched of a file of up to 100 MiB, of a larger one 2 %, and beside it what an index of an
MP4 has over 1 MiB (that of an hour has 2), up to 16; 16,384 pixels either way and 40
million in all; in memory at once about 3 MiB of the file and a few decoded frames (200 MB for 8K).
Errors: VideoError with the reason; what `read` raises comes through. Threading: any, a file for each thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.stream import Discard
from cachetools import LRUCache

from discordfs.clipping.model import Facts
from discordfs.errors import VideoError

Read = Callable[[int, int], bytes]

WIDTH = 420
"""Of a thumbnail, in pixels."""

_KIB = 1024
_BLOCK = 64 * _KIB
_RUN = 4  # blocks in one fetch at most
_KEPT = 48  # blocks in memory
_LEAST_BUDGET = 2 * _KIB * _KIB
_LARGEST_INDEX = 16 * _KIB * _KIB
_SERVED = 32  # times the budget: a file that is read round and round ends there
_LONGEST = 16_384
PIXELS = 40_000_000
"""The largest picture that is looked at: that of 8K has 33 million."""
_TALLEST = 4 * WIDTH
_PLACES = (0.1, 0.25, 0.5, 0.75)  # of the runtime, where a dark beginning is passed over
_BOXES = 6
_KINDS = (b"ftyp", b"free", b"skip", b"wide", b"mdat", b"moov", b"moof", b"sidx")
_PACKETS = 240  # read on for a picture, from one place
_OPTIONS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,ogg,asf",
    "protocol_whitelist": "none",
    "probesize": str(512 * _KIB),
    "max_streams": "64",
    "threads": "1",
}


class RangeFile:
    """A seekable file of `size` bytes that `read(start, length)` gives exactly, for FFmpeg to read.

    An error of `read`, or the end of the budget, ends the file: FFmpeg is shown no more bytes, and `check`
    tells. `fetched` counts the bytes that were asked for."""

    def __init__(self, read: Read, size: int, budget: int = 0) -> None:
        self.size = size
        self.fetched = 0
        self.budget = budget or max(_LEAST_BUDGET, size // 50)
        self.is_spent = False
        self._read = read
        self._blocks: LRUCache[int, bytes] = LRUCache(_KEPT)
        self._next = -1
        self._run = 1
        self._at = 0
        self._served = 0
        self._failure: Exception | None = None

    def check(self) -> None:
        """Raises what went wrong in reading, if anything did."""
        if self._failure is not None:
            raise self._failure

    # --- a file, as FFmpeg has it: nothing is raised in here, as it would get lost on the way ----------

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self.size)[whence])
        return self._at

    def read(self, length: int = -1) -> bytes:
        """Up to the end of a block; b"" at the end of the file."""
        if self._failure is not None or self.is_spent or self._at >= self.size:
            return b""
        number, offset = divmod(self._at, _BLOCK)
        block = self._block(number)
        data = block[offset:] if length < 0 else block[offset : offset + length]
        self._at += len(data)
        self._served += len(data)
        self.is_spent |= self._served > _SERVED * self.budget
        return data

    # --- inside ---------------------------------------------------------------------------------------

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            try:
                self._fetch(number)
            except Exception as error:  # noqa: BLE001  # `check` raises it, whatever it is
                self._failure = error
        return self._blocks.get(number, b"")

    def _fetch(self, first: int) -> None:
        """This block, and the more behind it the longer it has gone in sequence."""
        self._run = min(_RUN, 2 * self._run) if first == self._next else 1
        last = first + 1
        while last < first + self._run and last * _BLOCK < self.size and last not in self._blocks:
            last += 1
        start, left = first * _BLOCK, self.budget - self.fetched
        while last > first and min(self.size, last * _BLOCK) - start > left:
            last -= 1
        if last == first:
            self.is_spent = True
            return
        end = min(self.size, last * _BLOCK)
        data = self._read(start, end - start)
        self.fetched += len(data)
        for at in range(0, len(data), _BLOCK):
            self._blocks[first + at // _BLOCK] = data[at : at + _BLOCK]
        self._next = last


@dataclass(frozen=True, slots=True)
class Seen:
    """What was learned of a video. `thumbnail`: a PNG, as it is to be shown."""

    facts: Facts
    thumbnail: bytes


def look(file: RangeFile, pixels: int = PIXELS) -> Seen:
    """Facts and a thumbnail in one opening; VideoError for a picture of more than so many pixels, too. Width
    and height are as they are shown: turned, and with square pixels."""
    if not file.size:
        raise VideoError("it is empty")
    _check_end(file, _own_end(file))
    options = _OPTIONS | {"max_pixels": str(pixels)}
    try:
        with av.open(file, "r", options=options, metadata_errors="replace", io_open=_refuse) as container:
            return _Looking(container, file, pixels).look()
    except Exception as error:  # whatever comes of bytes that are missing is no news
        file.check()
        is_ours = isinstance(error, VideoError | MemoryError) and not isinstance(error, av.error.FFmpegError)
        if is_ours:
            raise
        raise VideoError(_said(error, file)) from error


def _refuse(*_: object) -> object:
    raise VideoError("the file refers to another one: such a video is not read")


def _said(error: Exception, file: RangeFile) -> str:
    if file.is_spent:
        return f"its index and first picture take more than {file.budget // _KIB:,} KiB to read"
    if not isinstance(error, av.error.FFmpegError):  # of PyAV, which was not made for files like this one
        return f"PyAV cannot read it as a video: {type(error).__name__}: {error}"
    text = str(error.strerror or type(error).__name__)
    return f"FFmpeg cannot read it as a video: {text[:1].lower()}{text[1:]}"


class _Looking:
    """One look at an open container."""

    def __init__(self, container: Any, file: RangeFile, pixels: int) -> None:
        self._container = container
        self._file = file
        self._pixels = pixels
        self._stream = self._picture_track()
        self._context = self._stream.codec_context
        self._best: Any = None
        self._brightness = -1
        self._damage: Exception | None = None

    def look(self) -> Seen:
        self._prepare()
        frame = self._find()
        self._file.check()
        if frame is None:
            raise VideoError(self._why_none())
        turns = round(-frame.rotation / 90) % 4
        width, height = _shown(frame, self._stream, turns)
        audio = any(each.type == "audio" for each in self._container.streams)
        name = self._context.codec.canonical_name
        return Seen(
            Facts(self._runtime(), width, height, name, audio), _thumbnail(frame, turns, width, height)
        )

    def _picture_track(self) -> Any:
        for stream in self._container.streams.video:
            if "attached_pic" not in str(stream.disposition) and stream.codec_context is not None:
                return stream
        raise VideoError("it has no picture track that can be decoded")

    def _prepare(self) -> None:
        _check_end(self._file, max(map(_last, self._container.streams), default=0))
        width, height = self._context.width, self._context.height
        if max(width, height) > _LONGEST or width * height > self._pixels:
            raise VideoError(f"its picture is too large to look at: {width:,} x {height:,} pixels")
        self._context.thread_count = 1
        self._context.options = {"max_pixels": str(self._pixels)}
        for other in self._container.streams:
            if other is not self._stream:
                other.discard = Discard.all

    def _runtime(self) -> float | None:
        if self._container.duration is not None:
            return float(Fraction(self._container.duration, av.time_base))
        if self._stream.duration is not None:
            return float(self._stream.duration * self._stream.time_base)
        return None

    # --- which picture ----------------------------------------------------------------------------------

    def _find(self) -> Any:
        """The first that is not dark, else the brightest of those looked at; None without any."""
        seen = set()
        for place in (0.0, *_PLACES):
            frame = self._key_frame(place)
            if frame is None or frame.pts in seen:
                continue
            seen.add(frame.pts)
            if self._is_bright(frame):
                return frame
        if self._best is not None:
            for frame in self._frames():
                if self._is_bright(frame):
                    return frame
        return self._best

    def _key_frame(self, place: float) -> Any:
        """The key frame at or before this part of the runtime."""
        if not self._go_to(place):
            return None
        for packet in self._packets():
            if not packet.is_keyframe:
                continue
            try:
                frames = self._context.decode(packet) or self._context.decode(None)
            except av.error.FFmpegError as error:
                self._damage, frames = error, []
            self._context.flush_buffers()
            if frames:
                return frames[0]
        return None

    def _frames(self) -> Iterator[Any]:
        """From the beginning on, each."""
        if not self._go_to(0.0):
            return
        for packet in self._packets():
            try:
                yield from self._context.decode(packet)
            except av.error.FFmpegError as error:
                self._damage = error

    def _go_to(self, place: float) -> bool:
        """Whether there is such a place, and it could be gone to."""
        duration = self._container.duration
        if self._file.is_spent or (place and not duration):
            return False
        if not place and self._best is None:
            return True  # it stands there
        try:
            start = self._container.start_time or 0
            self._container.seek(start + int(place * (duration or 0)))
        except av.error.FFmpegError as error:
            self._damage = error
            return False
        self._context.flush_buffers()
        return True

    def _packets(self) -> Iterator[Any]:
        """The next so many of the picture track."""
        packets = self._container.demux(self._stream)
        for _ in range(_PACKETS):
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                self._damage, packet = error, None
            if packet is None or not packet.size or self._file.is_spent:
                return
            yield packet

    def _is_bright(self, frame: Any) -> bool:
        """Whether more than a fiftieth of it is not dark; it is remembered as the best if it is."""
        small = frame.reformat(64, 36, "gray")
        values = sorted(_rows(small.planes[0], 64))
        if sum(values) > self._brightness:
            self._best, self._brightness = frame, sum(values)
        return values[len(values) * 49 // 50] > 40

    def _why_none(self) -> str:
        if self._file.is_spent or self._damage is not None:
            return _said(self._damage or VideoError(), self._file)
        return "it has no picture that can be decoded"


# --- whether the file is whole --------------------------------------------------------------------------


def _check_end(file: RangeFile, end: int) -> None:
    """VideoError for a file that should be longer."""
    file.check()
    if end > file.size:
        raise VideoError(f"it breaks off: {file.size:,} of at least {end:,} bytes are there")


def _last(stream: Any) -> int:
    """Where the last thing ends that the index has of a track."""
    entries = stream.index_entries
    return entries[-1].pos + entries[-1].size if len(entries) else 0


def _own_end(file: RangeFile) -> int:
    """Where a file ends by its own account; 0 where it does not say, or is of another format."""
    file.seek(0)
    head = file.read(_KIB)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        end = _segment_end(head)
    else:
        end = _box_end(file) if head[4:8] == b"ftyp" else 0
    file.seek(0)
    return end


def _box_end(file: RangeFile) -> int:
    """Of the first boxes of an MP4, where the last one ends (ISO/IEC 14496-12, 4.2)."""
    at = 0
    for _ in range(_BOXES):
        file.seek(at)
        head = b""
        while len(head) < 16 and (more := file.read(16 - len(head))):
            head += more
        size, kind = int.from_bytes(head[:4]), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:16])
        if kind not in _KINDS or size < 8:
            break
        if kind == b"moov":
            file.budget += max(0, min(size, _LARGEST_INDEX) - _KIB * _KIB)
        at += size
    return at


def _segment_end(head: bytes) -> int:
    """Of a Matroska file (RFC 8794 and 9559)."""
    size, at = _ebml_size(head, 4)
    at += size
    if head[at : at + 4] != b"\x18\x53\x80\x67":
        return 0
    size, start = _ebml_size(head, at + 4)
    return start + size


def _ebml_size(data: bytes, at: int) -> tuple[int, int]:
    """(the number there, or 0 for unknown; where it ends)."""
    if at >= len(data) or not data[at]:
        return 0, at
    length = 9 - data[at].bit_length()
    number = int.from_bytes(data[at : at + length]) & ((1 << 7 * length) - 1)
    return (0 if number == (1 << 7 * length) - 1 else number), at + length


# --- the picture ------------------------------------------------------------------------------------------


def _shown(frame: Any, stream: Any, turns: int) -> tuple[int, int]:
    """Width and height with square pixels, after so many quarter turns."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    wide = max(1, min(_LONGEST, round(frame.width * aspect)))
    return (frame.height, wide) if turns % 2 else (wide, frame.height)


def _thumbnail(frame: Any, turns: int, width: int, height: int) -> bytes:
    size = WIDTH, max(1, min(_TALLEST, round(WIDTH * height / width)))
    small = frame.reformat(*(size[::-1] if turns % 2 else size), "gbrp")
    return _png(_turned(small, turns).reformat(format="rgb24"))


def _turned(frame: Any, turns: int) -> Any:
    """A planar picture after so many quarter turns clockwise."""
    if not turns:
        return frame
    size = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
    turned = av.VideoFrame(*size, frame.format.name)
    for plane, target in zip(frame.planes, turned.planes, strict=True):
        data, width = _rows(plane, frame.width), frame.width
        if turns == 2:
            data = data[::-1]
        elif turns == 1:
            data = b"".join(data[x::width][::-1] for x in range(width))
        else:
            data = b"".join(data[x::width] for x in reversed(range(width)))
        gap = bytes(target.line_size - size[0])
        lines = (data[at : at + size[0]] for at in range(0, len(data), size[0]))
        target.update(b"".join(line + gap for line in lines))
    return turned


def _rows(plane: Any, width: int) -> bytes:
    """A plane's bytes without what pads its lines."""
    data, stride = bytes(plane), plane.line_size
    return b"".join(data[at : at + width] for at in range(0, stride * plane.height, stride))


def _png(frame: Any) -> bytes:
    encoder: Any = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "rgb24"
    encoder.time_base, encoder.thread_count = Fraction(1, 1), 1
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
