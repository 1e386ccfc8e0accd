"""Writes docs/COMMANDS.md: the help of each command, as the commands give it. `make docs` runs it."""

from __future__ import annotations

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
        group = click.Context(cli, info_name="discordfs", terminal_width=100, max_content_width=100)
        command = cli.get_command(group, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=group)
        parts.append(f"## {name}\n\n```\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(__file__).resolve().parents[1].joinpath("docs", "COMMANDS.md").write_text(
        document(), encoding="utf-8"
    )
