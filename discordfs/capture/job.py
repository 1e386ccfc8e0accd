"""What the parts of a run share: how far each channel is, what was met, what went wrong.

Threading: any thread; the lock guards the sets and is held for moments, never across a request. A mark
belongs to the thread that captures its channel, others only read it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from discordfs.archived.ranges import LAST, Range
from discordfs.archived.runs import folder_of
from discordfs.capture.asking import Asker
from discordfs.capture.coverage import Ledger, to_ask
from discordfs.capture.lines import Form
from discordfs.capture.media import MediaStore
from discordfs.capture.recordfile import RecordFile
from discordfs.capture.rundir import RunDirectory
from discordfs.capture.scope import Channel
from discordfs.capture.settings import CaptureSettings

Stamp = Mapping[str, Any]
"""A message in metadata: its id, as a number, and its timestamp."""


@dataclass(slots=True)
class Mark:
    """How far a channel is. `todo`: inclusive ranges of ids that are still to be asked for. `messages`,
    `oldest`, `newest`: as they came, and once the channel is done as its file holds them. `turn` belongs to
    whoever captures it: a file has one writer."""

    channel: Channel
    todo: list[Range]
    messages: int = 0
    oldest: Stamp | None = None
    newest: Stamp | None = None
    done: bool = False
    http: int = 0
    ws: int = 0
    turn: threading.Lock = field(default_factory=threading.Lock, compare=False)

    def count(self, message: int, timestamp: str) -> None:
        """A message. They come in the order of their ids; one that is not newer was counted before."""
        if self.newest is not None and message <= self.newest["id"]:
            return
        self.messages += 1
        stamp = {"id": message, "timestamp": timestamp}
        self.oldest = self.oldest or stamp
        self.newest = stamp

    def as_json(self) -> dict[str, Any]:
        one = self.channel
        return {
            "channel": [one.id, one.guild, one.name, one.type, one.parent, one.last_message, one.has_pins],
            "todo": [list(each) for each in self.todo],
            "messages": self.messages,
            "oldest": self.oldest,
            "newest": self.newest,
            "done": self.done,
            "records": [self.http, self.ws],
        }


def mark_of(body: Mapping[str, Any]) -> Mark:
    """The reverse of as_json."""
    return Mark(
        Channel(*body["channel"]),
        [(first, last) for first, last in body["todo"]],
        body["messages"],
        body["oldest"],
        body["newest"],
        body["done"],
        *body["records"],
    )


@dataclass(slots=True)
class Job:
    """A run under way. `enqueue` has a channel captured by some thread; `known` is what earlier runs covered,
    for an incremental one; `again_from` the id from which on it looks again. `invites`: codes that somebody
    looks up; `known_invites`: those whose answer is on record. `told_threads`: ids of
    threads of which a notice in a channel tells."""

    settings: CaptureSettings
    asker: Asker
    form: Form
    directory: RunDirectory
    run_file: RecordFile
    server_now_ns: Callable[[], int]
    enqueue: Callable[[Channel], None]
    known: Mapping[int, tuple[Range, ...]] = field(default_factory=dict)
    again_from: int = LAST
    media: MediaStore | None = None
    ledger: Ledger = field(default_factory=Ledger)
    marks: dict[int, Mark] = field(default_factory=dict)
    guilds: dict[int, str] = field(default_factory=dict)
    guild_files: dict[int, RecordFile] = field(default_factory=dict)
    files: set[RecordFile] = field(default_factory=set)
    invites: set[str] = field(default_factory=set)
    known_invites: set[str] = field(default_factory=set)
    told_threads: set[int] = field(default_factory=set)
    me: int = 0
    lacks_content: bool | None = None
    others: int = 0
    empty: int = 0
    refusals: list[str] = field(default_factory=list)
    refused_ids: set[int] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def refused(self, text: str, what: int) -> None:
        """Discord does not show a channel or server: noted, and the run goes on."""
        with self.lock:
            self.refusals.append(text)
            self.refused_ids.add(what)

    def failed(self, text: str) -> None:
        """Something could not be had for now: the run goes on, and has not ended well."""
        with self.lock:
            self.failures.append(text)

    def new_invites(self, codes: set[str]) -> set[str]:
        """Those that nobody has looked up yet; they are the caller's."""
        with self.lock:
            new = codes - self.invites
            self.invites |= new
        return new

    def looked_up(self, codes: Iterable[str]) -> None:
        """Their answers are in the kernel."""
        with self.lock:
            self.known_invites.update(codes)

    def note_others(self, others: int, empty: int) -> None:
        """So many messages of others, of which so many came without anything in them."""
        with self.lock:
            self.others += others
            self.empty += empty

    @property
    def contents_came_empty(self) -> bool:
        """Whether the intent MESSAGE_CONTENT is missing, by what came."""
        if not self.empty or self.settings.is_user_account:
            return False
        return self.lacks_content is True or (self.lacks_content is None and self.empty >= 0.9 * self.others)

    def opened(self, file: RecordFile) -> RecordFile:
        """Brought to disk at each checkpoint until it is closed."""
        with self.lock:
            self.files.add(file)
        return file

    def closed(self, file: RecordFile) -> None:
        with self.lock:
            self.files.discard(file)
        file.close()

    def guild_file(self, guild: int) -> RecordFile:
        """guild.jsonl of a guild; what belongs to none goes into run.jsonl."""
        if not guild:
            return self.run_file
        with self.lock:
            if guild not in self.guild_files:
                self.guild_files[guild] = self.directory.file(folder_of(guild), "guild.jsonl")
                self.files.add(self.guild_files[guild])
            return self.guild_files[guild]

    def wanted(self, channel: int) -> list[Range]:
        """The ranges of ids that this run asks of a channel."""
        first, last = self.settings.asked
        if not self.settings.incremental:
            return [(first, last)]
        return list(to_ask(self.known.get(channel, ()), first, last, self.again_from))
