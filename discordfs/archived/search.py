"""Full-text search over what has been archived: words, phrases in quotes, beginnings with *, -without.

The index is the catalogue's (SQLite FTS5; letters' accents and case make no difference). Errors: UsageError
for a query without words, sqlite3.Error. Threading: one thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from discordfs.archived.catalogue import Catalogue
from discordfs.errors import UsageError
from discordfs.remote.base import snowflake_at

_TERM = re.compile(r'(-?)(?:"([^"]*)"|(\S+))')
_WORD = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class Filters:
    """What hits must be. `channel` and `author`: an id, or part of a name; times in epoch ns, [after,
    before)."""

    channel: str = ""
    author: str = ""
    after_ns: int | None = None
    before_ns: int | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that has the words. `directory` is its channel's below views/."""

    id: int
    channel: int
    directory: str
    author_id: int
    author: str
    text: str
    is_deleted: bool


def search(catalogue: Catalogue, query: str, filters: Filters) -> Iterator[Hit]:
    """The hits, newest first."""
    conditions: list[str] = ["words MATCH ?"]
    values: list[Any] = [match_of(query)]
    for condition, value in _conditions(filters):
        conditions.append(condition)
        values.append(value)
    rows = catalogue.query(
        "SELECT said.id, said.channel, channel.directory, author_id, author, words.text, is_deleted "
        "FROM words JOIN said ON said.number = words.rowid JOIN channel ON channel.id = said.channel "
        f"WHERE {' AND '.join(conditions)} ORDER BY said.id DESC LIMIT ?",
        [*values, filters.limit],
    )
    for number, channel, directory, author_id, author, text, is_deleted in rows:
        yield Hit(number, channel, directory, author_id, author, text, bool(is_deleted))


def _conditions(filters: Filters) -> Iterator[tuple[str, Any]]:
    if filters.channel.isdigit():
        yield "said.channel = ?", int(filters.channel)
    elif filters.channel:
        yield "instr(lower(channel.directory), ?) > 0", filters.channel.lower()
    if filters.author.isdigit():
        yield "author_id = ?", int(filters.author)
    elif filters.author:
        yield "instr(lower(author), ?) > 0", filters.author.lower()
    if filters.after_ns is not None:
        yield "said.id >= ?", snowflake_at(filters.after_ns)
    if filters.before_ns is not None:
        yield "said.id < ?", snowflake_at(filters.before_ns)


def match_of(query: str) -> str:
    """The query in FTS5's language, where nothing that was typed is an operator of it."""
    wanted: list[str] = []
    without: list[str] = []
    for sign, phrase, word in _TERM.findall(query):
        term = phrase or word
        if not _WORD.search(term):
            continue
        ending = "*" if word.endswith("*") else ""
        quoted = f'"{term.rstrip("*").replace(chr(34), " ")}"{ending}'
        (without if sign else wanted).append(quoted)
    if not wanted:
        raise UsageError(f"{query!r} has no word to look for: give one at least that is not excluded")
    return " NOT ".join([f"({' AND '.join(wanted)})", *without])
