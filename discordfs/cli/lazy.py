"""Groups of commands whose modules are imported when a command is used: discord.py alone takes half a second.

Threading: the main thread.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """`modules`: each command's module, in the order of the help. It has the command under the command's
    name, or among its COMMANDS where that is no name for Python."""

    def __init__(self, *arguments: Any, modules: Mapping[str, str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._modules:
            return None
        module = importlib.import_module(self._modules[cmd_name])
        found = getattr(module, cmd_name, None)
        if isinstance(found, click.Command):
            return found
        commands: dict[str | None, click.Command] = {each.name: each for each in module.COMMANDS}
        return commands[cmd_name]
