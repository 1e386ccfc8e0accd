"""What becomes of the names and kinds of uploaded files. Threading: pure.

Reported by users of the API: spaces become `_`, leading `_` go, names with other than ASCII letters are
replaced, images are re-encoded on the way.
"""

from __future__ import annotations

import mimetypes
import re
import struct
from pathlib import Path

_TYPES = mimetypes.MimeTypes(filenames=())
_TYPES.add_type("video/x-matroska", ".mkv")  # Python learned it late
_IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".webp", ".avif", ".heic", ".apng"}
)
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF")
_TRAILER = b"\nre-encoded by the emulator\n"
_LONGEST = 255


def cleaned(filename: str) -> str:
    """The name under which a file is kept and served."""
    base = re.split(r"[/\\]", filename)[-1].replace(" ", "_")
    kept = re.sub(r"[^A-Za-z0-9._-]", "", base).lstrip("_")
    stem, dot, suffix = kept.rpartition(".")
    if not dot:
        stem, suffix = kept, ""
    stem = stem.strip(".") or "unknown"
    return (stem[: _LONGEST - len(suffix) - 1] + dot + suffix)[-_LONGEST:]


def title(filename: str) -> str | None:
    """The name before cleaning, without extension, where cleaning changed it."""
    return None if cleaned(filename) == filename else filename.rpartition(".")[0] or filename


def content_type(filename: str, claimed: str | None) -> str | None:
    """The type an attachment is given: by its extension, else what the client said."""
    guessed = _TYPES.guess_type(filename)[0]
    if guessed is not None:
        return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed
    return claimed if claimed and claimed != "application/octet-stream" else None


def is_image(filename: str, claimed: str | None) -> bool:
    """Whether Discord would touch this file's bytes."""
    suffix = Path(filename).suffix.lower()
    return suffix in _IMAGE_SUFFIXES or any(
        kind is not None and kind.startswith("image/") for kind in (claimed, content_type(filename, None))
    )


def alter(path: Path) -> int:
    """Changes an image's bytes and gives its new size. A real one can still be shown; anything else is
    damaged.
    """
    with path.open("r+b") as file:
        head = file.read(12)
        if head and not head.startswith(_MAGIC):
            file.seek(0)
            file.write(bytes([head[0] ^ 0xFF]))
        file.seek(0, 2)
        file.write(_TRAILER)
        return file.tell()


def dimensions(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels, for PNG and GIF."""
    with path.open("rb") as file:
        head = file.read(24)
    if head.startswith(_MAGIC[0]) and len(head) == 24:
        width, height = struct.unpack(">II", head[16:24])
        return int(width), int(height)
    if head.startswith(_MAGIC[2]) and len(head) >= 10:
        width, height = struct.unpack("<HH", head[6:10])
        return int(width), int(height)
    return None
