"""Sorting more observations than fit into memory: sorted runs on disk, merged.

Limits: about `memory` bytes of bodies at once, and one open file for each so many bytes. Errors: OSError.
Threading: one thread.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import msgpack

from discordfs.archived.observing import Observation

MEMORY = 24 * 1024**2
_OVERHEAD = 150
"""Bytes that an observation takes beside its body."""
_BATCH = 64
_FILES_MAX = 64


class Sorter:
    """`add` any number, then iterate once: by id, then by time. Its files are nameless: they end with it."""

    def __init__(self, folder: Path, memory: int = MEMORY) -> None:
        self._folder = folder
        self._memory = memory
        self._held: list[Observation] = []
        self._size = 0
        self._files: list[IO[bytes]] = []

    def add(self, observation: Observation) -> None:
        self._held.append(observation)
        self._size += len(observation.body) + _OVERHEAD
        if self._size > self._memory:
            self._spill()

    def _spill(self) -> None:
        self._held.sort()
        self._write(iter(self._held))
        self._held, self._size = [], 0
        if len(self._files) >= _FILES_MAX:
            merged = heapq.merge(*map(_read, self._files))
            old, self._files = self._files, []
            self._write(merged)
            for file in old:
                file.close()

    def _write(self, observations: Iterator[Observation]) -> None:
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        self._files.append(file)
        packer = msgpack.Packer()
        batch: list[Observation] = []
        for observation in observations:
            batch.append(observation)
            if len(batch) == _BATCH:
                file.write(packer.pack(batch))
                batch = []
        file.write(packer.pack(batch))

    def __iter__(self) -> Iterator[Observation]:
        self._held.sort()
        if not self._files:
            return iter(self._held)
        return heapq.merge(*map(_read, self._files), iter(self._held))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()


def _read(file: IO[bytes]) -> Iterator[Observation]:
    file.seek(0)
    unpacker: Any = msgpack.Unpacker(file, use_list=False, max_buffer_size=0, read_size=1 << 16)
    for batch in unpacker:
        yield from (Observation(*each) for each in batch)
