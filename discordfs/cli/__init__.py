"""The commands. `main` is what `discordfs`, `python -m discordfs` and mount.py run.

Every error is one line on stderr and an exit code (common.py); --debug shows the traceback.
Threading: the main thread.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from discordfs import __version__
from discordfs.cli.common import FAILED, USAGE, complain, exit_code, explain
from discordfs.cli.lazy import LazyGroup

COMMANDS = {
    "init": "discordfs.cli.init",
    "mount": "discordfs.cli.mount",
    "umount": "discordfs.cli.umount",
    "barrier": "discordfs.cli.umount",
    "status": "discordfs.cli.status",
    "recover": "discordfs.cli.recover",
    "resubmit": "discordfs.cli.resubmit",
    "fsck": "discordfs.cli.fsck",
    "salvage": "discordfs.cli.salvage",
    "gc": "discordfs.cli.gc",
    "archive": "discordfs.cli.archive",
    "clips": "discordfs.cli.clips",
    "key": "discordfs.cli.key",
    "emulator": "discordfs.cli.emulator",
}
"""Each command's module, imported when it is used."""


@click.group(cls=LazyGroup, modules=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="discordfs")
def cli() -> None:
    """Mounts Discord as a drive."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = cli.main(as_mount_helper(given), prog_name="discordfs", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        complain(f"{error.format_message()} (discordfs --help lists what there is)")
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        return FAILED
    except Exception as error:
        if "--debug" in given:
            raise
        complain(explain(error))
        return exit_code(error)


def as_mount_helper(arguments: list[str]) -> list[str]:
    """mount(8) runs a fuse.discordfs line of fstab as `discordfs SOURCE MOUNTPOINT -o OPTIONS`: that is
    `mount MOUNTPOINT -o OPTIONS`, as the source is but a name."""
    is_helper = len(arguments) >= 4 and arguments[2] == "-o" and arguments[0] not in COMMANDS
    return ["mount", *arguments[1:]] if is_helper else arguments
