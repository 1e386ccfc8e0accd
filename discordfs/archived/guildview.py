"""A server's own files among the views: guild.json and members.jsonl.

guild.json is one object: under each route that was asked for ("guild", "channels", "roles", …) the newest
good answer, as received. members.jsonl has each member once, newest answer, by user id; somebody who left
stays.
Limits: memory as sorting.py has it, but for guild.json, which is held. Errors: OSError. Threading: one
thread.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from discordfs.archived.jsontext import DAMAGE
from discordfs.archived.lines import Trouble
from discordfs.archived.observing import Observation
from discordfs.archived.people import text, thing, things
from discordfs.archived.records import Record, json_value, whole_number
from discordfs.archived.runs import Source, read_records
from discordfs.archived.sorting import Sorter
from discordfs.archived.tails import new_file, put, sweep

GUILD, MEMBERS = "guild.json", "members.jsonl"

_ROUTE = re.compile(r"/guilds/\d+(?:/([a-z/-]+))?$")


def write_guild(sources: Sequence[Source], folder: Path, scratch: Path) -> None:
    """Of the server whose files these are, oldest first; each file is written only if it has anything."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sweep(folder)
    parts: dict[str, tuple[int, str]] = {}
    with Sorter(scratch) as members:
        for number, source in enumerate(sources):
            for record in _answers(source):
                _take(record, number, parts, members)
        _write_members(members, folder / MEMBERS)
    if parts:
        newest = max(at_ns for at_ns, _ in parts.values())
        body = ",\n".join(f"{json.dumps(key)}: {text}" for key, (_, text) in sorted(parts.items()))
        put(folder / GUILD, f"{{{body}}}\n".encode("utf-8", "surrogateescape"), newest)


def _answers(source: Source) -> Iterator[Record]:
    for located in read_records(source.path, Trouble()):
        if located.record.is_answer:
            yield located.record


def _take(record: Record, number: int, parts: dict[str, tuple[int, str]], members: Sorter) -> None:
    match = _ROUTE.search(record.path)
    if match is None:
        return
    key = match[1] or "guild"
    if key == "members" and record.items is not None:
        for item in record.items:
            user = whole_number(thing(item.value, "user").get("id")) if isinstance(item.value, dict) else None
            if user is not None:
                body = record.verbatim(item).encode("utf-8", "surrogateescape")
                members.add(Observation(user, record.at_ns, number, 0, body))
    elif parts.get(key, (0, ""))[0] <= record.at_ns:
        answer = _body(record)
        if answer:
            parts[key] = record.at_ns, answer


def _body(record: Record) -> str:
    if record.items is not None:
        return "[" + ", ".join(map(record.verbatim, record.items)) + "]"
    return record.verbatim(record.data) if record.data is not None else ""


def _write_members(members: Sorter, path: Path) -> None:
    newest = 0
    groups = groupby(members, key=lambda each: each.id)
    first = next(groups, None)
    if first is None:
        return
    with new_file(path) as file:
        for _, group in _chained(first, groups):
            last = list(group)[-1]
            newest = max(newest, last.at_ns)
            file.write(last.body + b"\n")
    os.utime(path, ns=(newest, newest))


def _chained(first: tuple[int, Any], rest: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    yield first
    yield from rest


def role_names(folder: Path) -> dict[str, str]:
    """What its roles are called, by mention ("@123"), as the guild.json in `folder` has it."""
    try:
        body = json_value((folder / GUILD).read_text("utf-8", "surrogateescape"))
    except (FileNotFoundError, *DAMAGE):
        return {}
    shown = body if isinstance(body, dict) else {}
    roles = things(shown, "roles") or things(thing(shown, "guild"), "roles")
    return {f"@{each.get('id')}": text(each, "name") for each in roles}


def guild_name(meta: Mapping[str, Any]) -> str:
    """As a run's metadata has it, or empty."""
    name = thing(meta, "guild").get("name")
    return name if isinstance(name, str) else ""
