"""Pictures made up on the spot: the same for the same name, always. Threading: pure."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import zlib

# The smallest lossy WebP there is, of one pixel; nothing here can encode a larger one.
_WEBP = base64.b64decode("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA")
TYPES = {
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "json": "application/json",
}


def picture(name: str, extension: str, size: int = 64) -> bytes:
    """A picture of this name, square, `size` pixels wide (a GIF or WebP: one pixel); KeyError for another
    extension than those of TYPES.
    """
    color = hashlib.blake2b(name.encode(), digest_size=3).digest()
    if extension == "png":
        return png(size, [color * size] * size)
    if extension == "json":
        return json.dumps({"v": "5.5.2", "nm": name, "w": size, "h": size, "layers": []}).encode()
    return {"gif": _gif(color), "webp": _WEBP}[extension]


def png(width: int, rows: list[bytes]) -> bytes:
    """A PNG of these rows of red, green and blue."""
    header = struct.pack(">IIBBBBB", width, len(rows), 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, each) for kind, each in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _gif(color: bytes) -> bytes:
    """One pixel of this colour (GIF89a)."""
    screen = struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + color + b"\0\0\0"
    image = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + screen + image + b";"
