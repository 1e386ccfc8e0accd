"""Videos made up on the spot, small and real: in any container and codec that PyAV can write.

Each frame shows its number, as a row of black and white blocks in its upper half, so that whoever seeks or
makes a picture of one can be told whether it is the right one; below is a colour of the film's own. The same
film has the same bytes, but for another release of the encoders. Limits: a film is in memory once.
Threading: any; encoding takes milliseconds to seconds of CPU.
"""

from __future__ import annotations

import hashlib
import math
import struct
import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

BITS = 16
_DARK, _LIGHT = 30, 225  # luma of a block
_RATE = 44_100
_TEMPO = {"libx264": {"preset": "ultrafast"}, "libvpx": {"deadline": "realtime", "cpu-used": "8"}}
_TEMPO |= {"libvpx-vp9": _TEMPO["libvpx"], "libx265": {"preset": "ultrafast", "x265-params": "log-level=0"}}
_MATRICES = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


@dataclass(frozen=True, slots=True)
class Film:
    """What is to be made. `size` in pixels, even; `codec` and `audio` are names of FFmpeg's encoders (None:
    no sound); `container` an output format of its. `faststart`: the index of an MP4 comes first. So many
    frames at the beginning are `black`. `turn`: degrees clockwise that a player shall turn it (MP4 and MOV),
    `aspect` width over height of a pixel. `noise`: random bytes in the colours of each frame, for large
    files; `gop`: frames from one key frame to the next."""

    name: str = ""
    seconds: float = 2.0
    size: tuple[int, int] = (320, 180)
    rate: int = 10
    codec: str = "libx264"
    container: str = "mp4"
    audio: str | None = None
    faststart: bool = True
    black: int = 0
    turn: int = 0
    aspect: Fraction = Fraction(1)
    gop: int = 12
    quality: dict[str, str] | None = None
    noise: bool = False

    @property
    def frames(self) -> int:
        return round(self.seconds * self.rate)


def made(film: Film) -> bytes:
    """The file's bytes. ValueError (av.error.ValueError) for what FFmpeg cannot write."""
    with tempfile.TemporaryDirectory() as directory:  # FFmpeg moves an index to the front in a file only
        path = Path(directory) / "film"
        _write(film, path)
        data = path.read_bytes()
    return _turned(data, film) if film.turn else data


def number_in(rgb: bytes, width: int, height: int, *, stride: int = 0) -> int:
    """The number that a picture of a frame shows, however it was scaled: rows of red, green and blue,
    `stride` bytes apart (0: without a gap)."""
    row = height // 4 * (stride or 3 * width)
    green = [rgb[row + 3 * int((bit + 0.5) * width / BITS) + 1] for bit in range(BITS)]
    return sum(1 << bit for bit, value in enumerate(green) if value > 127)


def _write(film: Film, path: Path) -> None:
    options = {"fflags": "+bitexact"}
    if film.container in ("mp4", "mov") and film.faststart:
        options["movflags"] = "faststart"
    with av.open(str(path), "w", format=film.container, options=options) as out:
        video: Any = out.add_stream(film.codec, rate=film.rate)
        video.width, video.height = film.size
        video.pix_fmt = "yuvj420p" if film.codec == "mjpeg" else "yuv420p"
        video.options = _TEMPO.get(film.codec, {}) | {"g": str(film.gop)} | (film.quality or {})
        video.codec_context.sample_aspect_ratio = film.aspect
        video.codec_context.thread_count = 1
        video.codec_context.flags |= av.codec.context.Flags.bitexact
        sound: Any = None if film.audio is None else out.add_stream(film.audio, rate=_sound_rate(film))
        if film.audio == "aac":
            sound.options, sound.bit_rate = {"aac_coder": "fast"}, 64_000
        tones = iter(()) if sound is None else _tones(film)
        tone = next(tones, None)
        for number, frame in enumerate(_frames(film)):
            out.mux(video.encode(frame))
            while tone is not None and (tone.time or 0.0) <= number / film.rate:
                out.mux(sound.encode(tone))
                tone = next(tones, None)
        out.mux(video.encode(None))
        if sound is not None:
            out.mux(sound.encode(None))


def _frames(film: Film) -> Iterator[av.VideoFrame]:
    for number in range(film.frames):
        frame = av.VideoFrame(*film.size, "yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, film.rate)
        is_black = number < film.black
        for at, plane in enumerate(frame.planes):
            stride, height = plane.line_size, plane.height
            if is_black:
                rows = bytes([16 if at == 0 else 128]) * (stride * height)
            elif at == 0:
                rows = _luma(film, number, stride)
            else:
                rows = _chroma(film, number, at, stride * height)
            plane.update(rows)
        yield frame


def _luma(film: Film, number: int, stride: int) -> bytes:
    """The number over a slope that moves with it."""
    width, height = film.size
    blocks = bytearray(stride)
    for x in range(width):
        blocks[x] = _LIGHT if number >> (x * BITS // width) & 1 else _DARK
    slope = bytes(60 + (x + 3 * number) % 128 for x in range(width)).ljust(stride, b"\0")
    return bytes(blocks) * (height // 2) + slope * (height - height // 2)


def _chroma(film: Film, number: int, part: int, size: int) -> bytes:
    """A colour by the film's name, or noise."""
    if film.noise:
        return hashlib.shake_128(b"%d %d" % (number, part)).digest(size)
    name = hashlib.blake2b(film.name.encode(), digest_size=2).digest()
    return bytes([64 + name[part - 1] % 128]) * size


def _sound_rate(film: Film) -> int:
    return 48_000 if film.audio == "libopus" else _RATE


def _tones(film: Film) -> Iterator[av.AudioFrame]:
    """A hum, in pieces of 1,024 samples."""
    rate, samples = _sound_rate(film), 1024 if film.audio != "libopus" else 960
    wave = array("f", (0.1 * math.sin(440 * 2 * math.pi * n / rate) for n in range(samples)))
    form = "flt" if film.audio == "libopus" else "fltp"
    for at in range(0, int(film.seconds * rate), samples):
        frame = av.AudioFrame(format=form, layout="mono", samples=samples)
        frame.planes[0].update(wave.tobytes())
        frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
        yield frame


def _turned(data: bytes, film: Film) -> bytes:
    """With the matrix of the track's header (ISO/IEC 14496-12, 8.3.2) as a phone held upright writes it."""
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = _MATRICES[film.turn]
    width, height = film.size
    x = {90: height, 180: width, 270: 0}[film.turn]
    y = {90: 0, 180: height, 270: width}[film.turn]
    one = 1 << 16
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, x * one, y * one, 1 << 30)
    return data[:at] + matrix + data[at + len(matrix) :]
