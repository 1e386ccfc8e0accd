"""The videos of a seeded server, by the names of their files. Threading: any."""

from __future__ import annotations

import functools
from dataclasses import replace
from fractions import Fraction

from .films import Film, made

FILMS = {
    "first-try.mp4": Film(),
    "take-1.MP4": Film(audio="aac"),
    "take-2.webm": Film(codec="libvpx", container="webm"),
    "index-last.mp4": Film(seconds=4, audio="aac", faststart=False),
    "upright.mp4": Film(turn=90),
    "portrait.mp4": Film(size=(180, 320)),
    "wide-pixels.mp4": Film(size=(160, 180), aspect=Fraction(2)),
    "screen.webm": Film(codec="libvpx-vp9", container="webm", audio="libopus"),
    "phone.mov": Film(codec="mpeg4", container="mov", audio="aac"),
    "screen.mkv": Film(container="matroska"),
    "dark-start.mp4": Film(seconds=4, black=8),
    "again.mp4": Film(),
    "ending.mp4": Film(seconds=3),
    "SPOILER_ending.mp4": Film(seconds=3),
    "recording": Film(),
    "private.mp4": Film(),
    "sunset.mp4": Film(size=(320, 240), seconds=3),
    "gone.mp4": Film(),
    "long.mp4": Film(seconds=600, rate=1, gop=60),
    "cut-off.mp4": Film(seconds=4, audio="aac"),
    "cut-off.webm": Film(seconds=4, codec="libvpx", container="webm"),
    "garbage.mp4": Film(),
}
_CUT = 0.6  # of a film that breaks off, how much there is


def claimed(name: str) -> str | None:
    """The type that the uploader said."""
    return "video/mp4" if name == "recording" else None


@functools.cache
def film(name: str, version: str) -> bytes:
    """The file's bytes; KeyError for another than those of FILMS."""
    data = made(replace(FILMS[name], name=name + version))
    if name.startswith("cut-off"):
        return data[: int(_CUT * len(data))]
    if name.startswith("garbage"):
        return bytes(255 - each for each in data[:64]) + data[64:]
    return data
