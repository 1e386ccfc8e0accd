"""`discordfs mount`: checks, starts the mount process, and returns once the mount answers.

The mount process is this one with -f, else a child in a session of its own, forked before there is any
thread. The child says over a pipe that the kernel has connected, or what went wrong.
Threading: the main thread.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TextIO

import click

from discordfs.cli import mountpoint as places
from discordfs.cli.common import DONE, absolute, complain, exit_code, explain, state_of, state_option
from discordfs.cli.options import Options, parse_options
from discordfs.cli.passphrase import unlock
from discordfs.cli.service import Request, import_face, serve
from discordfs.config import StateDirectory
from discordfs.errors import ConfigError, DiscordfsError, UsageError
from discordfs.keys import KeyFile
from discordfs.tenure import Wish


@click.command()
@click.argument("mountpoint", type=click.Path())
@click.option("--demo", is_flag=True, help="Use the embedded emulator of Discord; makes a volume if none.")
@click.option(
    "--read-only", is_flag=True, help="Refuse every change; follows the log if another machine writes."
)
@click.option("--take-over", is_flag=True, help="Become the writer of a volume that another machine writes.")
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground; Ctrl-C unmounts.")
@click.option("-o", "options", multiple=True, metavar="OPTS", help="Mount options, as in fstab.")
@click.option("--debug", is_flag=True, help="Log in detail; show tracebacks.")
@state_option
def mount(
    mountpoint: str,
    demo: bool,
    read_only: bool,
    take_over: bool,
    foreground: bool,
    options: tuple[str, ...],
    debug: bool,
    state_dir: Path | None,
) -> None:
    """Mounts the volume at MOUNTPOINT."""
    chosen = parse_options([*options, "ro"] if read_only else options)
    state = state_of(state_dir or chosen.state_dir)
    if chosen.token_file is not None:  # with its links, which may lead to another file tomorrow
        chosen = replace(chosen, token_file=chosen.token_file.absolute())
    wish = _wish(chosen, take_over)
    request = Request(state, absolute(mountpoint), chosen, demo, debug, _here(), None, wish)
    _check(request)
    request = replace(request, key=_unlocked(request))
    if foreground:
        faulthandler.enable()
        serve(
            request,
            lambda: click.echo(f"mounted at {request.mountpoint}; Ctrl-C unmounts", err=True),
            lambda text: click.echo(text, err=True),
        )
    else:
        _serve_in_background(request)


def _wish(options: Options, take_over: bool) -> Wish:
    flags = [name for name, _ in options.kernel if name in ("ro", "rw")]
    if flags[-1:] != ["ro"]:
        return Wish.TAKE_OVER if take_over else Wish.WRITE
    if take_over:
        raise UsageError("--take-over makes this machine the writer, and --read-only refuses every change")
    return Wish.READ


def _check(request: Request) -> None:
    """What can be told before anything is started or made."""
    import_face()
    places.check(request.mountpoint, request.state.path)
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise DiscordfsError(
            "/dev/fuse cannot be opened: is fuse3 installed, the module loaded (modprobe fuse)?"
        )
    if request.demo:
        request.state.create()
    else:
        request.state.load()
    if not os.access(request.state.path, os.W_OK | os.X_OK):
        raise ConfigError(f"the state directory {request.state.path} cannot be written to")


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:  # it was deleted: nothing can be found in it
        return Path("/")


def _unlocked(request: Request) -> KeyFile | None:
    """The volume's key: in the background nobody could be asked for a passphrase."""
    state = request.state
    if request.demo and not state.has_volume():
        return None
    volume = state.load().volume.uid
    return unlock(state.key_file, volume, request.options.passphrase_file, "-o passphrase_file=FILE")


# --- in the background --------------------------------------------------------------------------------


def _serve_in_background(request: Request) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _be_the_mount(request, writing)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        answer = _await_answer(pipe)
    if not answer:
        os.waitpid(child, 0)
        raise DiscordfsError(f"the mount process ended without a word: see {request.state.log_file}")
    if "error" in answer:
        os.waitpid(child, 0)
        complain(answer["error"])
        raise SystemExit(answer["code"])
    os.statvfs(request.mountpoint)  # the kernel holds this back until the mount answers


def _await_answer(pipe: TextIO) -> dict[str, Any]:
    """The child's last word; what it says before that is shown. Empty when it died."""
    for line in pipe:
        news: dict[str, Any] = json.loads(line)
        if "tell" not in news:
            return news
        click.echo(news["tell"], err=True)
    return {}


def _be_the_mount(request: Request, pipe: int) -> NoReturn:
    """The child's life; never returns into the parent's code."""
    code = 1
    try:
        os.setsid()
        os.chdir("/")
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _redirect(request.state)
        serve(request, lambda: _tell(pipe, {"ready": True}), lambda text: _tell(pipe, {"tell": text}))
        code = DONE
    except BaseException as error:  # noqa: BLE001  # the parent waits to hear of it, whatever it is
        code = exit_code(error)
        _tell(pipe, {"error": _with_libfuse(request, error), "code": code})
        if request.debug or not isinstance(error, DiscordfsError | SystemExit):
            sys.excepthook(type(error), error, error.__traceback__)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _redirect(state: StateDirectory) -> None:
    """Standard output and error go to the log: libfuse and a crashing interpreter write there."""
    output = os.open(state.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)
    faulthandler.enable()


def _tell(pipe: int, message: dict[str, object]) -> None:
    try:
        os.write(pipe, json.dumps(message).encode() + b"\n")
    except OSError as error:  # the command was interrupted; the mount stands nevertheless
        print(f"nobody waits for this mount any more: {error}", file=sys.stderr)


def _with_libfuse(request: Request, error: BaseException) -> str:
    """libfuse says why on stderr, which is the log by now: its last line belongs to the message."""
    text = explain(error)
    if "libfuse could not mount" not in text:
        return text
    lines = request.state.log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
    said = [line for line in lines if line.startswith(("fuse:", "fusermount", "mount:"))]
    return f"{text}: {said[-1]}" if said else text
