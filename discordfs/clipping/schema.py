"""The tables of catalogue.sqlite, and a clip as a row of them. Threading: pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from discordfs.clipping.model import Clip, Facts, Look

FORMAT = 1
"""Stands in PRAGMA user_version."""

SHOWN = "(deleted_ns = 0 OR kept != '')"
"""Of a clip: it is there, or a copy of it is kept."""

TABLES = """
CREATE TABLE guild(                  -- a server; 0 stands for direct messages
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL,
    directory TEXT NOT NULL UNIQUE COLLATE NOCASE   -- its name in clips/, given once
);
CREATE TABLE place(                  -- a channel or thread
    channel   INTEGER PRIMARY KEY,
    guild     INTEGER NOT NULL,
    parent    INTEGER NOT NULL,      -- of a thread: its channel; else 0
    name      TEXT NOT NULL,
    directory TEXT NOT NULL COLLATE NOCASE,         -- below the server's
    UNIQUE (guild, directory)
);
CREATE TABLE chosen(                 -- what `clips sync` was told to watch, remembered
    kind TEXT NOT NULL,              -- channel or guild
    id   INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE TABLE covered(                -- ids of messages that pages have shown, inclusive
    channel INTEGER NOT NULL,
    first   INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    PRIMARY KEY (channel, first)
);
CREATE TABLE poster(
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL,
    display   TEXT NOT NULL,
    icon      TEXT NOT NULL,         -- hash of the avatar, '' without one
    directory TEXT NOT NULL UNIQUE COLLATE NOCASE,  -- in by-poster/ and posters/
    changed   INTEGER NOT NULL,
    written   INTEGER NOT NULL
);
CREATE TABLE clip(
    id           INTEGER PRIMARY KEY, -- the attachment's
    alias        TEXT NOT NULL,       -- the predecessor's Id
    message      INTEGER NOT NULL,
    channel      INTEGER NOT NULL,
    poster       INTEGER NOT NULL,
    posted_ns    INTEGER NOT NULL,
    filename     TEXT NOT NULL,       -- as Discord has it: not safe as a path
    content_type TEXT NOT NULL,
    size         INTEGER NOT NULL,    -- bytes
    url          TEXT NOT NULL,       -- the newest link, with its signature
    expires_ns   INTEGER NOT NULL,    -- of that link; 0: unknown
    description  TEXT NOT NULL,
    is_forwarded INTEGER NOT NULL,
    edited_ns    INTEGER NOT NULL,    -- 0: never
    deleted_ns   INTEGER NOT NULL,    -- when it was found to be deleted; 0: it is there
    runtime      REAL,                -- seconds
    width        INTEGER,
    height       INTEGER,
    codec        TEXT NOT NULL,
    has_audio    INTEGER,
    look         TEXT NOT NULL,       -- waiting, done, failed
    look_error   TEXT NOT NULL,
    kept         TEXT NOT NULL,       -- SHA-256 of the kept copy, '' without one
    name         TEXT NOT NULL COLLATE NOCASE,      -- in its channel's directory, given once
    changed      INTEGER NOT NULL,
    written      INTEGER NOT NULL,
    UNIQUE (channel, name)
);
CREATE INDEX clip_message ON clip(channel, message);
CREATE INDEX clip_alias ON clip(alias);
CREATE INDEX clip_expires ON clip(expires_ns) WHERE deleted_ns = 0;
CREATE INDEX clip_waiting ON clip(id) WHERE look = 'waiting';
CREATE INDEX clip_unwritten ON clip(changed) WHERE changed != written;
CREATE TABLE setting(                -- "store": the place that `written` speaks of; "keep": where videos go;
                                     -- "put": of the copy that was put there last: version, and stamp there
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
CREATE TABLE counter(value INTEGER NOT NULL);       -- one row: the last value of `changed`
INSERT INTO counter VALUES (0);
"""

FIELDS = (
    "id, alias, message, channel, poster, posted_ns, filename, content_type, size, url, expires_ns,"
    " description, is_forwarded, edited_ns, deleted_ns, runtime, width, height, codec, has_audio, look,"
    " look_error, kept"
)
"""The columns of a clip that a Clip has, in the order of its row."""

_NAMES = tuple(name.strip() for name in FIELDS.split(","))


def row_of(clip: Clip) -> tuple[int | float | str | None, ...]:
    """In the order of FIELDS."""
    facts = clip.facts
    return (
        *(clip.id, clip.alias, clip.message, clip.channel, clip.poster, clip.posted_ns, clip.filename),
        *(clip.content_type, clip.size, clip.url, clip.expires_ns, clip.description, clip.is_forwarded),
        *(clip.edited_ns, clip.deleted_ns),
        *(facts.runtime, facts.width, facts.height, facts.codec, facts.has_audio),
        *(str(clip.look), clip.look_error, clip.kept),
    )


def clip_of(row: Sequence[Any]) -> Clip:
    """The reverse."""
    known: dict[str, Any] = dict(zip(_NAMES, row, strict=True))
    audio = known.pop("has_audio")
    said = {name: known.pop(name) for name in ("runtime", "width", "height", "codec")}
    facts = Facts(**said, has_audio=None if audio is None else bool(audio))
    known |= {"is_forwarded": bool(known["is_forwarded"]), "look": Look(known["look"])}
    return Clip(**known, facts=facts)
