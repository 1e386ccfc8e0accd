"""Byte ranges of local files as request bodies, streamed with a length that is known beforehand.

aiohttp sends an IO object that it cannot measure in chunks, which Discord refuses; hence a payload that
knows its size. Each request opens the file afresh, so a repeat starts at offset 0 and sends the same bytes.
Limits: 256 KiB of memory for each upload. Threading: the loop's thread; disk reads go to its executor.
"""

from __future__ import annotations

import asyncio
import io
import os
from typing import Any

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from discordfs.errors import Damaged
from discordfs.remote.base import UploadFile

_STEP = 256 * 1024


def check_upload(file: UploadFile) -> None:
    """Damaged when the file is not there or too short: better before a request than in the middle of one."""
    try:
        size = os.stat(file.path).st_size
    except OSError as error:
        raise Damaged(f"the file to upload, {file.path}, cannot be read: {error.strerror}") from error
    if size < file.start + file.length:
        raise Damaged(f"the file to upload, {file.path}, has {size} bytes, not {file.start + file.length}")


def read_upload(file: UploadFile) -> bytes:
    """All its bytes at once. Damaged as in `check_upload`."""
    check_upload(file)
    with open(file.path, "rb") as source:
        source.seek(file.start)
        return source.read(file.length)


class UploadStream(io.RawIOBase):
    """What discord.py is given for a file: it only wants something that looks like one, and hands it on."""

    def __init__(self, file: UploadFile) -> None:
        self.file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return 0


class FileRange(Payload):
    """The bytes of an UploadFile as a part of a multipart body."""

    _value: UploadFile

    def __init__(self, file: UploadFile) -> None:
        super().__init__(file, content_type="application/octet-stream")
        self._size = file.length

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("an upload is bytes")

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Streams the range. Damaged when the file ends early; the request is then cut off, never padded."""
        loop = asyncio.get_running_loop()
        position, end = self._value.start, self._value.start + self._value.length
        with open(self._value.path, "rb", buffering=0) as source:
            while position < end:
                size = min(_STEP, end - position)
                data = await loop.run_in_executor(None, os.pread, source.fileno(), size, position)
                if not data:
                    raise Damaged(f"the file to upload, {self._value.path}, ends at {position}, not {end}")
                await writer.write(data)
                position += len(data)


def part_value(value: Any) -> Any:
    """A form field's value as aiohttp can measure it."""
    return FileRange(value.file) if isinstance(value, UploadStream) else value
