"""The process of a mount: opens the drive, serves it, and ends both in order.

Runs in the foreground always; mount.py (the command) decides whether that is the user's terminal or a
child in a session of its own. Threading: everything here on the main thread, where signals arrive; libfuse
calls `announce` from a thread of its own.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from discordfs import registry
from discordfs.archived import ondrive
from discordfs.cli import volumes
from discordfs.cli.demo import Address, DemoServer
from discordfs.cli.options import Options
from discordfs.cli.tokenwatch import TokenWatch
from discordfs.clipping import keeping
from discordfs.compose import Account, OpenDrive, check_token, open_drive, with_views
from discordfs.config import Config, StateDirectory, StateLock, api_of
from discordfs.control import ControlServer, Progress
from discordfs.errors import ConfigError, DiscordfsError, RemoteError, TimedOut, Unauthorized
from discordfs.keys import KeyFile, VolumeKeys, read_key_file
from discordfs.registry import runtime_dir
from discordfs.tenure import Role, Wish
from discordfs.tokens import TOKEN_VARIABLE, ScrubbingFormatter, Token, find_token
from discordfs.tree import Grafted

log = logging.getLogger(__name__)

_KEPT = {"archive": ondrive.PLACE, "clips": os.fsencode(f"/{keeping.DRIVE}")}
"""Where the drive has copies of what the views show."""

LOG_BYTES = 4 * 1024**2
LOG_FILES = 3
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(process)d] %(message)s"


@dataclass(frozen=True, slots=True)
class Request:
    """What `mount` was asked for, and in which `directory`. `key` is the volume's, unlocked while there was
    somebody to ask; None for a demo that has no volume yet."""

    state: StateDirectory
    mountpoint: str
    options: Options
    demo: bool
    debug: bool
    directory: Path
    key: KeyFile | None
    wish: Wish


def import_face() -> Any:
    """operations.py, whose import loads libfuse. Raises DiscordfsError that says what to install."""
    try:
        from discordfs import operations
    except (OSError, ImportError) as error:
        raise DiscordfsError(
            f"libfuse 2 is missing ({error}): apt-get install fuse3 libfuse2 (newer systems: libfuse2t64)"
        ) from None
    return operations


KernelOptions = tuple[tuple[str, str | int | bool], ...]

FOLLOWING: KernelOptions = (("ro", True), ("direct_io", True), ("entry_timeout", 0))
"""Where another machine writes: the kernel must keep neither names nor pages, as nobody tells it that they
are old."""


def serve(request: Request, announce: Callable[[], None], tell: Callable[[str], None]) -> None:
    """Mounts and serves until the drive is unmounted or a signal ends it. `announce` is called once the
    kernel has connected; `tell` hears before that what the user should know. Raises DiscordfsError; nothing
    stays behind then."""
    operations = import_face()
    with ExitStack() as stack:
        stack.enter_context(StateLock(request.state))
        config, account, is_reachable = _prepare(request, stack)
        scrubber = _start_logging(request, account.token)
        drive = open_drive(
            request.state,
            config,
            request.options.applied_to(config.settings),
            account,
            _keys(request, config),
            operations.interrupted,
            wish=request.wish,
            is_reachable=is_reachable,
            progress=tell,
        )
        stack.callback(drive.close)
        if drive.standing.why:
            tell(f"read-only: {drive.standing.why}{_advice(drive)}")
        if not request.demo:
            watch = _token_watch(request, drive, scrubber)
            watch.start()
            stack.callback(watch.stop)
        served = with_views(drive, request.state, request.options.applied_to(config.settings))
        control = ControlServer(request.state.path, _handlers(request, drive, served))
        control.start()
        stack.callback(control.stop)
        mount = registry.add(request.mountpoint, str(request.state.path))
        stack.callback(registry.remove, mount)
        log.info("mounting volume %s at %s", config.volume.id, request.mountpoint)
        options = operations.MountOptions(config.volume.name, _kernel(request, drive), request.debug)
        operations.serve(served, os.fsencode(request.mountpoint), options, announce)
        log.info("unmounted %s", request.mountpoint)


def _advice(drive: OpenDrive) -> str:
    if drive.standing.role is not Role.LOSER:
        return ""
    count = len(drive.stranded())
    return f"; {count} files are on this machine alone: unmount, and save them with 'discordfs resubmit'"


def _kernel(request: Request, drive: OpenDrive) -> KernelOptions:
    asked = request.options.kernel
    match drive.standing.role:
        case Role.WRITER:
            return asked
        case Role.LOSER:
            return (*asked, ("ro", True))
        case Role.READER:
            return (*asked, *FOLLOWING)


def _prepare(request: Request, stack: ExitStack) -> tuple[Config, Account, bool]:
    """With whether Discord can be reached."""
    if request.demo:
        return (*_prepare_demo(request, stack), True)
    config = request.state.load()
    if config.volume.demo:
        raise ConfigError(f"the volume in {request.state.path} is a demo's: add --demo")
    api = api_of(os.environ, config.volume.api)
    token = _find_token(request, config, os.environ)
    account = Account(api, token, runtime_dir(os.geteuid()))
    try:
        check_token(account)
    except Unauthorized:
        raise
    except (RemoteError, TimedOut) as error:
        log.warning("Discord cannot be reached now (%s): the drive goes on with what is here", error)
        return config, account, False
    return config, account, True


def _prepare_demo(request: Request, stack: ExitStack) -> tuple[Config, Account]:
    state = request.state
    if state.has_volume() and not state.load().volume.demo:
        raise ConfigError(
            f"{state.path} holds a real volume: leave out --demo, or choose another --state-dir"
        )
    output = stack.enter_context((state.path / "emulator.log").open("ab"))
    server = stack.enter_context(DemoServer(state.emulator, output))
    address = server.start()
    account = Account(address.api, Token(address.token, "the emulator"), None)
    config = state.load() if state.has_volume() else _make_demo_volume(state, account, address)
    return config, account


def _make_demo_volume(state: StateDirectory, account: Account, address: Address) -> Config:
    state.key_file.unlink(missing_ok=True)  # of a demo that was interrupted here: it has no volume
    with volumes.asking(account) as ask:
        made = ask(lambda api: volumes.make_data_channels(api, address.guild))
    channels = (*address.channels[:1], *made)
    key = volumes.new_key()
    return volumes.make_volume(state, address.guild, channels, key, api="", name="discordfs-demo", demo=True)


def _keys(request: Request, config: Config) -> VolumeKeys:
    key, volume = request.key, config.volume.uid
    if key is None or key.volume != volume:
        key = read_key_file(request.state.key_file, volume)
    return VolumeKeys(key.master)


def _find_token(request: Request, config: Config, environment: Mapping[str, str]) -> Token:
    return find_token(
        environment, request.state.path, config.volume.id, request.options.token_file, request.directory
    )


def _token_watch(request: Request, drive: OpenDrive, scrubber: ScrubbingFormatter) -> TokenWatch:
    """Looks where the mount looked, but for the variable, which cannot change any more."""
    environment = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    return TokenWatch(
        remote=drive.remote,
        current=drive.account.token,
        find=lambda: _find_token(request, drive.config, environment),
        taken=lambda token: scrubber.add(token.reveal()),
        clock=time.time_ns,
    )


def _start_logging(request: Request, token: Token) -> ScrubbingFormatter:
    root = logging.getLogger()
    root.setLevel(logging.DEBUG if request.debug else logging.INFO)
    handler = logging.handlers.RotatingFileHandler(
        request.state.log_file, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8", errors="replace"
    )
    scrubber = ScrubbingFormatter(LOG_FORMAT, token.reveal())
    handler.setFormatter(scrubber)
    root.addHandler(handler)
    # discord.py tells every request at DEBUG, with headers.
    logging.getLogger("discord").setLevel(logging.WARNING)
    return scrubber


# --- what other commands may ask ----------------------------------------------------------------------


def _handlers(
    request: Request, drive: OpenDrive, served: Grafted
) -> dict[str, Callable[[Mapping[str, Any], Progress], Any]]:
    def status(_arguments: Mapping[str, Any], _progress: Progress) -> Any:
        place = {"mountpoint": request.mountpoint, "state_dir": str(request.state.path), "pid": os.getpid()}
        kept = [name for name, place in _KEPT.items() if ondrive.exists(drive.drive, place)]
        return place | drive.figures() | {"views": served.standing(), "views_kept": kept}

    def stranded(_arguments: Mapping[str, Any], _progress: Progress) -> Any:
        return drive.stranded()

    answers = {"status": status, "barrier": drive.barrier, "stranded": stranded, "gc": drive.gc}
    return answers | {"fsck": drive.doctor.fsck}
