"""`discordfs clips`: the videos of chosen channels, collected, listed, exported and taken in.

Each subcommand is in a module of its own, imported when it is used. Threading: the main thread.
"""

from __future__ import annotations

from collections.abc import Mapping

import click

from discordfs.cli.lazy import LazyGroup

_SYNC, _ASKING = "discordfs.cli.clips_sync", "discordfs.cli.clips_asking"
_READING = "discordfs.cli.clips_reading"

COMMANDS: Mapping[str, str] = {
    "sync": _SYNC,
    **dict.fromkeys(("list", "export"), _READING),
    **dict.fromkeys(("refresh", "import"), _ASKING),
}
"""Each subcommand's module."""


@click.group(cls=LazyGroup, modules=COMMANDS)
def clips() -> None:
    """Collects the videos of channels into a catalogue, which the mount shows as clips/."""
