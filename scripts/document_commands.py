"""Writes docs/COMMANDS.md, or the file that is named: the help of each command, as the commands give it.
`make docs` runs it, in a process of its own: click keeps how it wrote a command's help the first time."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from discordfs.cli import COMMANDS, cli

HEAD = """# Commands

Written by `make docs` from the commands themselves; what scripts may rely on stands in the README.
`python mount.py ARGS` is `discordfs mount ARGS`, `python -m discordfs` is `discordfs`.
"""


def document() -> str:
    """The whole file's text."""
    parts = [HEAD]
    for name in COMMANDS:
        widths = {"terminal_width": 100, "max_content_width": 100}
        group = click.Context(cli, info_name="discordfs", **widths, **cli.context_settings)
        command = cli.get_command(group, name)
        assert command is not None
        parts += _sections(command, click.Context(command, info_name=name, parent=group), name)
    return "\n".join(parts)


def _sections(command: click.Command, context: click.Context, title: str) -> list[str]:
    """A command's help, and that of the commands in it."""
    sections = [f"## {title}\n\n```\n{command.get_help(context)}\n```\n"]
    if not isinstance(command, click.Group):
        return sections
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        inside = click.Context(inner, info_name=name, parent=context)
        sections += _sections(inner, inside, f"{title} {name}")
    return sections


if __name__ == "__main__":
    page = Path(__file__).resolve().parents[1] / "docs" / "COMMANDS.md"
    Path(sys.argv[1] if len(sys.argv) > 1 else page).write_text(document(), encoding="utf-8")
