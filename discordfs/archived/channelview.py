"""The files of one channel, made of its runs: messages.jsonl, history.jsonl, messages.txt, html/,
coverage.json.

The unit is a month (UTC, by the id). What is new in the runs decides from which month on things may have
changed: the smallest id that a new file shows or covers. What lies before stays as it is, byte for byte; from
there on everything is made anew from the runs, reading only files that reach so far. A file that was read
before and is different now, or gone, or views that are not as they were written, make everything anew.
Limits: memory as sorting.py has it. Errors: OSError, sqlite3.Error. Threading: one thread.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from discordfs.archived import people
from discordfs.archived.catalogue import Catalogue, Month, Read, Sizes, Words
from discordfs.archived.history import history_lines
from discordfs.archived.htmlview import Place
from discordfs.archived.mediafiles import MediaFiles
from discordfs.archived.merge import Covering, Merged, body_of, merge
from discordfs.archived.monthpages import Pages
from discordfs.archived.observing import Observation, Seen, observe, observe_heard, place_of
from discordfs.archived.pageframe import INDEX, Beside, index_page, relative
from discordfs.archived.pictures import keys_of
from discordfs.archived.ranges import LAST, Range, gaps, joined
from discordfs.archived.runs import Run, Source
from discordfs.archived.sorting import Sorter
from discordfs.archived.tails import Tail, put, sweep
from discordfs.archived.textview import message_text
from discordfs.remote.base import snowflake_at, snowflake_ns

MESSAGES, HISTORY, TEXT, HTML, MEDIA = "messages.jsonl", "history.jsonl", "messages.txt", "html", "media"
COVERAGE, THREADS = "coverage.json", "threads"

_BATCH = 500
_REMEMBERED = 8192  # files that messages show


@dataclass(frozen=True, slots=True)
class Origin:
    """A channel's file in a run, or the run's own file, where the gateway's events are."""

    run: Run
    source: Source

    @property
    def key(self) -> tuple[str, str]:
        return self.run.key, self.source.path.relative_to(self.run.path).as_posix()


@dataclass(frozen=True, slots=True)
class ChannelPlan:
    """A channel to be built: `directory` below views/, `title` and `server` as people call them; `pages` and
    `name` as in htmlview.Place, `above` is its server or a thread's channel, `threads` are those below it."""

    id: int
    directory: str
    title: str
    server: str
    origins: tuple[Origin, ...]
    pages: Callable[[int], str]
    name: Callable[[str], str]
    above: Beside
    threads: tuple[Beside, ...] = ()


@dataclass(frozen=True, slots=True)
class Built:
    """What building came to. `messages`, `deleted`: in all; `trouble`: what could not be read."""

    messages: int
    deleted: int
    newest_id: int
    is_changed: bool
    trouble: tuple[str, ...] = ()


def month_of(number: int) -> str:
    return f"{people.moment(number):%Y-%m}"


def month_start(number: int) -> int:
    """The smallest id of the month of this one."""
    first = people.moment(number).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return snowflake_at(int(first.timestamp()) * 1_000_000_000)


class ChannelBuilder:
    """Builds one channel's views below `views`; what it writes into the catalogue is the caller's
    transaction."""

    def __init__(self, plan: ChannelPlan, views: Path, catalogue: Catalogue, media: MediaFiles) -> None:
        self._plan = plan
        self._folder = views / plan.directory
        self._views = views
        self._catalogue = catalogue
        self._media = media
        self._media_link = lru_cache(_REMEMBERED)(self._linked)
        self._noted: set[str] = set()
        self._known = catalogue.sources(plan.id)
        self._reads: list[Read] = []
        self._trouble: list[str] = []

    def build(self) -> Built:
        stats = [(origin, os.stat(origin.source.path)) for origin in self._plan.origins]
        fresh = {origin.key for origin, status in stats if not self._is_known(origin, status)}
        is_whole = self._must_begin_anew({origin.key for origin, _ in stats}, fresh)
        months = [] if is_whole else self._catalogue.months(self._plan.id)
        start = 0 if is_whole else self._start_of_media()
        if not fresh and start == LAST and not is_whole:
            if self._plan.threads and months:
                self._write_index(months)
            return self._totals(months, False)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep(self._folder)
        with Sorter(self._views) as sorter:
            for number, (origin, status) in enumerate(stats):
                if origin.key in fresh:
                    start = min(start, self._read(number, origin, status, sorter))
            if start == LAST:
                return self._with_nothing_new(months, fresh)
            start = self._rounded(start, months)
            for number, (origin, _) in enumerate(stats):
                if origin.key not in fresh:
                    self._read_again(number, origin, sorter, start)
            kept = [each for each in months if each.month < month_of(start)] if start else []
            made = self._write(sorter, kept, start)
        return replace(self._totals([*kept, *made], True), trouble=tuple(self._trouble))

    def _with_nothing_new(self, months: Sequence[Month], fresh: set[tuple[str, str]]) -> Built:
        """New files that say nothing of any message: only what is known of the channel is written anew."""
        self._reads += [read for key, read in self._known.items() if key not in fresh]
        self._catalogue.set_sources(self._plan.id, self._reads)
        self._write_index(months)
        self._write_coverage(months)
        return replace(self._totals(months, True), trouble=tuple(self._trouble))

    # --- what is there -------------------------------------------------------------------------------

    def _is_known(self, origin: Origin, status: os.stat_result) -> bool:
        known = self._known.get(origin.key)
        return known is not None and (known.size, known.mtime_ns) == (status.st_size, status.st_mtime_ns)

    def _must_begin_anew(self, present: set[tuple[str, str]], fresh: set[tuple[str, str]]) -> bool:
        sizes = self._catalogue.sizes(self._plan.id)
        if sizes is None or set(self._known) - present or fresh & set(self._known):
            return True
        wanted = {MESSAGES: sizes.messages, HISTORY: sizes.history, TEXT: sizes.text}
        return any(_size(self._folder / name) != size for name, size in wanted.items())

    def _start_of_media(self) -> int:
        """The first message that shows a file that has come since; LAST if none has."""
        waiting = self._catalogue.unlinked(self._plan.id)
        return min((message for key, message in waiting if self._media.has(key)), default=LAST)

    def _rounded(self, start: int, months: Sequence[Month]) -> int:
        """The beginning of a month; that of the last one that there is if another begins, as it is linked
        from there."""
        first = month_start(start) if start else 0
        last = month_start(months[-1].newest_id) if months else 0
        return min(first, last)

    # --- reading -------------------------------------------------------------------------------------

    def _read(self, number: int, origin: Origin, status: os.stat_result, sorter: Sorter) -> int:
        """Hands the file's messages to the sorter; the smallest id it says anything of."""
        seen = Seen()
        for observation in self._observe(origin, number, seen, 0):
            sorter.add(observation)
        low, high = seen.reach()
        self._trouble += [f"{'/'.join(origin.key)}: {text}" for text in seen.trouble.damage]
        times, marks = (seen.begin_ns, seen.end_ns), tuple(seen.marks)
        stamp = status.st_size, status.st_mtime_ns
        self._reads.append(Read(*origin.key, *stamp, low, high, *times, seen.ranges(), marks))
        return low

    def _read_again(self, number: int, origin: Origin, sorter: Sorter, start: int) -> None:
        """The same of a file that was read before, as far as it reaches `start`."""
        known = self._known[origin.key]
        self._reads.append(known)
        if known.high < start:
            return
        for observation in self._observe(origin, number, Seen(), place_of(known.marks, start)):
            if observation.id >= start:
                sorter.add(observation)

    def _observe(self, origin: Origin, number: int, seen: Seen, begin: int) -> Iterator[Observation]:
        path = origin.source.path
        if origin.source.channel:
            return observe(path, number, seen, begin)
        return observe_heard(path, number, seen, self._plan.id, begin)

    def _coverings(self) -> list[Covering]:
        numbers = {origin.key: number for number, origin in enumerate(self._plan.origins)}
        return [
            Covering(numbers[each.run, each.file], each.begin_ns, each.end_ns, each.ranges)
            for each in self._reads
        ]

    # --- writing -------------------------------------------------------------------------------------

    def _write(self, sorter: Sorter, kept: Sequence[Month], start: int) -> list[Month]:
        plan, catalogue = self._plan, self._catalogue
        at = self._offsets(start) if kept else Sizes()
        catalogue.forget_from(plan.id, month_of(start) if start else "", start)
        merged = (each for each in merge(iter(sorter), self._coverings()) if each.id >= start)
        with ExitStack() as stack:
            files = _Files(self._folder, at, stack)
            pages = Pages(self._folder / HTML, self._place(), kept[-1].month if kept else "")
            made = list(self._months(_noted(merged, self._index), files, pages))
            newest = [*kept, *made][-1].newest_id if kept or made else 0
            pages.finish([*kept, *made])
            sizes = files.finish(snowflake_ns(newest))
        catalogue.add_months(plan.id, made)
        catalogue.set_sources(plan.id, self._reads)
        catalogue.set_built(plan.id, plan.directory, sizes)
        self._finish([*kept, *made], newest)
        return made

    def _offsets(self, start: int) -> Sizes:
        """Where what is made anew begins in the files: where the first month of it did, else at their
        ends."""
        for each in self._catalogue.months(self._plan.id):
            if each.month >= month_of(start):
                return each.at
        return self._catalogue.sizes(self._plan.id) or Sizes()

    def _months(self, merged: Iterable[Merged], files: _Files, pages: Pages) -> Iterator[Month]:
        month, until = None, -1
        for each in merged:
            if each.id >= until or month is None:
                if month is not None:
                    yield month
                month = Month(month_of(each.id), files.position())
                until = _next_month(each.id)
                pages.begin(month.month)
            files.add(each, self._plan.origins)
            pages.add(each)
            month = replace(
                month,
                messages=month.messages + 1,
                deleted=month.deleted + (each.deleted is not None),
                edited=month.edited + (len(each.versions) > 1),
                newest_id=each.id,
            )
        if month is not None:
            yield month

    def _index(self, batch: Sequence[Merged]) -> None:
        """What search and media need of these messages."""
        self._catalogue.add_words(self._plan.id, map(_words, batch))
        shown = [(key, each.id) for each in batch for key in self._keys(each) if key not in self._noted]
        rows = [(key, number, bool(self._media_link(key))) for key, number in shown]
        self._catalogue.add_pictures(self._plan.id, rows)
        self._noted = {key for key, _ in shown[-_REMEMBERED:]} | (
            self._noted if len(self._noted) < _REMEMBERED else set()
        )

    @staticmethod
    def _keys(merged: Merged) -> list[str]:
        found = keys_of(merged.value)
        for version in merged.versions[:-1]:
            found += keys_of(body_of(version))
        return found

    def _linked(self, key: str) -> str:
        """Where the file with this key lies as seen from a page, "" if there is none."""
        name = self._media.linked(key, self._folder / MEDIA) if key else ""
        return relative("..", MEDIA, name) if name else ""

    def _place(self) -> Place:
        plan = self._plan
        return Place(plan.id, plan.title, plan.server, self._media_link, plan.pages, plan.name)

    def _write_index(self, months: Sequence[Month]) -> None:
        page = index_page(self._plan.title, self._plan.above, months, self._plan.threads)
        newest = months[-1].newest_id if months else 0
        put(self._folder / HTML / INDEX, page.encode("utf-8", "replace"), snowflake_ns(newest))

    def _finish(self, months: Sequence[Month], newest: int) -> None:
        mtime, html = snowflake_ns(newest), self._folder / HTML
        self._write_index(months)
        _remove_others(html, {INDEX, *(f"{each.month}.html" for each in months)})
        self._write_coverage(months)
        os.utime(self._folder, ns=(mtime, mtime))

    def _write_coverage(self, months: Sequence[Month]) -> None:
        newest = months[-1].newest_id if months else 0
        text = json.dumps(self._coverage(months), indent=1) + "\n"
        put(self._folder / COVERAGE, text.encode(), snowflake_ns(newest))

    def _coverage(self, months: Sequence[Month]) -> dict[str, Any]:
        ranges = joined(each for read in self._reads for each in read.ranges)
        return {
            "format": 1,
            "channel": self._plan.id,
            "messages": sum(each.messages for each in months),
            "deleted": sum(each.deleted for each in months),
            "newest_id": months[-1].newest_id if months else 0,
            "oldest": bool(ranges) and ranges[0][0] <= 1,
            "ranges": ranges,
            "gaps": gaps(ranges),
            "sources": [
                {"run": each.run, "file": each.file, "ranges": each.ranges, "claimed": self._claimed(each)}
                for each in sorted(self._reads, key=lambda read: (read.begin_ns, read.run))
            ],
        }

    def _claimed(self, read: Read) -> tuple[Range, ...] | None:
        """What the run itself says that it covers; None if it says nothing."""
        for origin in self._plan.origins:
            if origin.key == (read.run, read.file):
                return origin.run.claimed(self._plan.id)
        return None

    def _totals(self, months: Sequence[Month], is_changed: bool) -> Built:
        return Built(
            sum(each.messages for each in months),
            sum(each.deleted for each in months),
            months[-1].newest_id if months else 0,
            is_changed,
        )


class _Files:
    """The three files that grow."""

    def __init__(self, folder: Path, at: Sizes, stack: ExitStack) -> None:
        self._messages = stack.enter_context(Tail(folder / MESSAGES, at.messages))
        self._history = stack.enter_context(Tail(folder / HISTORY, at.history))
        self._text = stack.enter_context(Tail(folder / TEXT, at.text))

    def position(self) -> Sizes:
        return Sizes(self._messages.position, self._history.position, self._text.position)

    def add(self, merged: Merged, origins: Sequence[Origin]) -> None:
        self._messages.write(merged.newest.body + b"\n")
        if merged.has_history:
            names = [origin.key for origin in origins]
            for line in history_lines(merged, names):
                self._history.write(line)
        self._text.write(message_text(merged).encode("utf-8", "replace"))

    def finish(self, mtime_ns: int) -> Sizes:
        return Sizes(
            self._messages.finish(mtime_ns), self._history.finish(mtime_ns), self._text.finish(mtime_ns)
        )


def _noted(merged: Iterable[Merged], note: Callable[[Sequence[Merged]], None]) -> Iterator[Merged]:
    """The same, told in batches: each before its first message is passed on."""
    batch: list[Merged] = []
    for each in merged:
        batch.append(each)
        if len(batch) >= _BATCH:
            note(batch)
            yield from batch
            batch = []
    note(batch)
    yield from batch


def _words(merged: Merged) -> Words:
    value: Mapping[str, Any] = merged.value
    text = people.searched(value) or people.system_text(value)
    name = people.user_name(people.author(value))
    return Words(
        merged.id, people.author_id(value), _speakable(name), _speakable(text), merged.deleted is not None
    )


def _speakable(text: str) -> str:
    """As a database takes it: without halves of characters."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _next_month(number: int) -> int:
    moment = people.moment(number)
    if moment.year >= 9999:
        return LAST
    year, month = (moment.year + 1, 1) if moment.month == 12 else (moment.year, moment.month + 1)
    first = moment.replace(year=year, month=month, day=1, hour=0, minute=0, second=0, microsecond=0)
    return snowflake_at(int(first.timestamp()) * 1_000_000_000)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _remove_others(folder: Path, names: set[str]) -> None:
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()


def remove(views: Path, directory: str) -> None:
    """A channel's views, as no run has it any more; threads below it have their own."""
    folder = views / directory
    for name in (MESSAGES, HISTORY, TEXT, COVERAGE):
        (folder / name).unlink(missing_ok=True)
    for name in (HTML, MEDIA):
        shutil.rmtree(folder / name, ignore_errors=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
