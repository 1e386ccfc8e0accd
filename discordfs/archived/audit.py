"""The audit of runs: everything is counted again from the records, and compared with what the metadata
claims.

Discard's own metadata is known to be wrong in places (servers' numbers of messages, oldest and newest
swapped); it is reported like any other. Limits: a file at a time, in memory as tally.py has it. Errors:
OSError.
Threading: pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from discordfs.archived.lines import Trouble
from discordfs.archived.observing import LAG_NS, Seen, observe
from discordfs.archived.people import moment
from discordfs.archived.ranges import Range, gaps, lacking
from discordfs.archived.records import whole_number
from discordfs.archived.runs import Run, Source, member, read_records
from discordfs.archived.tally import tally
from discordfs.remote.base import snowflake_at


@dataclass(slots=True)
class FileAudit:
    """A record file, counted. `statuses`: of HTTP answers that are not 2xx. `oldest` and `newest` are ids of
    messages, 0 without any. `wrong`: what its metadata claims and is not so; `damage`: what cannot be
    read."""

    file: str
    channel: int
    name: str
    http_requests: int = 0
    ws_packets: int = 0
    messages: int = 0
    oldest: int = 0
    newest: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    ranges: tuple[Range, ...] = ()
    gaps: tuple[Range, ...] = ()
    is_cut: bool = False
    damage: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@dataclass(slots=True)
class GuildAudit:
    """A server's files together; id 0 stands for direct messages."""

    id: int
    name: str
    channels: int = 0
    messages: int = 0
    wrong: list[str] = field(default_factory=list)
    files: list[FileAudit] = field(default_factory=list)


@dataclass(slots=True)
class RunAudit:
    """A run, counted. `state`: "completed", "ended with errors", "not ended"."""

    run: str
    directory: str
    mode: str
    state: str
    exception: str
    http_requests: int = 0
    ws_packets: int = 0
    messages: int = 0
    wrong: list[str] = field(default_factory=list)
    guilds: list[GuildAudit] = field(default_factory=list)
    own: list[FileAudit] = field(default_factory=list)

    def files(self) -> Iterator[FileAudit]:
        yield from self.own
        for guild in self.guilds:
            yield from guild.files

    def damage(self) -> list[str]:
        return [f"{each.file}: {text}" for each in self.files() for text in each.damage]

    def all_wrong(self) -> list[str]:
        parts = [*self.wrong, *(text for guild in self.guilds for text in guild.wrong)]
        return [*parts, *(text for each in self.files() for text in each.wrong)]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "damage": self.damage(), "all_wrong": self.all_wrong()}


def audit(run: Run) -> RunAudit:
    """Reads all of it."""
    meta = run.meta
    about, settings = member(meta, "run"), member(meta, "settings")
    result = RunAudit(
        run.name,
        str(run.path),
        str(settings.get("mode", "")),
        _state(about),
        str(about.get("exception") or ""),
    )
    guilds: dict[int, GuildAudit] = {}
    claims: dict[int, Mapping[str, Any]] = {}
    for source in run.sources():
        counted = _count(run, source)
        if source.name == "run.jsonl":
            result.own.append(counted)
            continue
        guild = guilds.setdefault(
            source.guild, GuildAudit(source.guild, "Direct messages" if not source.guild else "")
        )
        guild.files.append(counted)
        guild.messages += counted.messages
        guild.channels += bool(source.channel)
        if not source.channel:
            about = source.meta()
            guild.name = str(member(about, "guild").get("name") or "")
            claims[source.guild] = member(about, "summary")
    result.guilds = list(guilds.values())
    for guild in result.guilds:
        _compare_guild(guild, claims.get(guild.id, {}))
    for each in result.files():
        result.http_requests += each.http_requests
        result.ws_packets += each.ws_packets
        result.messages += each.messages
    _compare_run(result, member(meta, "summary"), bool(meta))
    return result


def _state(about: Mapping[str, Any]) -> str:
    if about.get("completed"):
        return "completed"
    return "ended with errors" if about.get("finished") else "not ended"


# --- counting -------------------------------------------------------------------------------------------


def _count(run: Run, source: Source) -> FileAudit:
    where = source.path.relative_to(run.path).as_posix()
    meta = member(source.meta(), "channel")
    result = FileAudit(where, source.channel, str(meta.get("name") or ""))
    seen = Seen()
    if source.channel:
        found = tally(observe(source.path, 0, seen), run.asked)
        result.messages = found.messages
        if found.oldest is not None and found.newest is not None:
            result.oldest, result.newest = found.oldest.id, found.newest.id
    trouble, statuses = Trouble(), Counter[str]()
    for located in read_records(source.path, trouble):
        record = located.record
        result.http_requests += record.kind == "http"
        result.ws_packets += record.kind == "ws"
        if record.kind == "http" and not 200 <= record.status < 300:
            statuses[str(record.status)] += 1
    result.statuses = dict(statuses)
    result.is_cut, result.damage = trouble.is_cut, trouble.damage
    if source.channel:
        result.ranges = seen.ranges()
        result.gaps = gaps(result.ranges)
        _compare_channel(result, source.meta())
        _compare_coverage(result, run.claimed(source.channel) or (), seen)
    return result


# --- comparing ------------------------------------------------------------------------------------------


def _differs(claims: Mapping[str, Any], key: str, counted: int) -> str:
    said = claims.get(key)
    return f"claims {key} {said}, counted {counted}" if said is not None and said != counted else ""


def _compare_channel(result: FileAudit, meta: Mapping[str, Any]) -> None:
    claims = member(meta, "summary")
    if text := _differs(claims, "num_messages", result.messages):
        result.wrong.append(f"{result.file}: {text}")
    oldest, newest = (
        whole_number(member(claims, f"{which}_message").get("id")) for which in ("oldest", "newest")
    )
    if result.messages and (oldest, newest) == (result.newest, result.oldest) and oldest != newest:
        result.wrong.append(f"{result.file}: oldest and newest message are swapped in its metadata")
        return
    for which, said, counted in (("oldest", oldest, result.oldest), ("newest", newest, result.newest)):
        if said is not None and said != counted:
            result.wrong.append(f"{result.file}: claims {said} for its {which} message, it is {counted}")


def _compare_coverage(result: FileAudit, claims: Iterable[Range], seen: Seen) -> None:
    if not result.messages:
        return
    youngest = snowflake_at(max(0, seen.begin_ns - LAG_NS))
    for first, last in lacking(claims, result.ranges):
        if first < youngest:
            result.wrong.append(f"{result.file}: claims to cover {first} to {last}, which no page does")


def _compare_guild(guild: GuildAudit, claims: Mapping[str, Any]) -> None:
    counted = {"num_channels": guild.channels, "num_messages": guild.messages}
    texts = (_differs(claims, key, number) for key, number in counted.items())
    guild.wrong = [f"server {guild.id}: {text}" for text in texts if text]


def _compare_run(result: RunAudit, claims: Mapping[str, Any], has_meta: bool) -> None:
    if not has_meta:
        result.wrong.append("run.meta.json is missing or no JSON")
    counted = {
        "num_http_requests": result.http_requests,
        "num_ws_packets": result.ws_packets,
        "num_messages": result.messages,
    }
    texts = (_differs(claims, key, number) for key, number in counted.items())
    result.wrong += [f"run.meta.json: {text}" for text in texts if text]


def day(number: int) -> str:
    """When Discord made this id, for people."""
    return f"{moment(number):%Y-%m-%d %H:%M}" if number else "the beginning"
