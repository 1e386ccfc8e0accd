"""Commands without the wait for their imports: a process that has done them forks one for each command.

Importing discord.py and the rest is most of what a command costs, and the tests run a thousand of them. What
runs is discordfs.cli.main in a process of its own, with the arguments, environment, directory and files it
would have had. How `python -m discordfs` itself starts is tested where commands are (tests/cli).

One nursery serves one process of tests, and ends with it: its input closes then. Threading: any.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import dying

ROOT = Path(__file__).resolve().parents[1]
_PRELOADED = ("init", "mount", "recover", "resubmit", "status", "umount", "fsck", "gc", "archive", "clips")
_MOST = 65_536  # bytes of a request


class Nursery:
    """Started with the first command."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._socket: socket.socket | None = None

    def run(
        self, arguments: Sequence[str], env: Mapping[str, str], cwd: Path, typed: str, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run with captured text. Raises TimeoutExpired, once the command is killed."""
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(typed.encode("utf-8", "surrogateescape"))
            given.seek(0)
            files = [each.fileno() for each in (given, out, err)]
            request = {"arguments": list(arguments), "env": dict(env), "cwd": str(cwd)}
            code = self._ask(json.dumps(request).encode(), files, timeout)
            texts = [each.seek(0) or each.read().decode("utf-8", "surrogateescape") for each in (out, err)]
        if code is None:
            raise subprocess.TimeoutExpired(list(arguments), timeout, *texts)
        return subprocess.CompletedProcess(list(arguments), code, *texts)

    def _ask(self, request: bytes, files: list[int], timeout: float) -> int | None:
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with mine:
            with its:
                socket.send_fds(self._begun(), [request], [its.fileno(), *files])
            pid = int(mine.recv(64))
            mine.settimeout(timeout)
            try:
                return int(mine.recv(64))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                mine.settimeout(None)
                mine.recv(64)
                return None

    def _begun(self) -> socket.socket:
        with self._guard:
            if self._socket is None:
                self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with its:
                    subprocess.Popen(
                        [sys.executable, "-m", "tests.nursery"], cwd=ROOT, stdin=its, start_new_session=True
                    ).returncode = 0  # nobody waits for it
            return self._socket


def serve(control: socket.socket) -> int:
    """Until whoever asks is gone: 0. In a command's own process what that returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those who tell how commands ended are not waited for
    while True:
        request, files, _, _ = socket.recv_fds(control, _MOST, 4)
        if not request:
            return 0
        if os.fork() == 0:
            control.close()
            return _tell(json.loads(request), *files)
        for each in files:
            os.close(each)


def _tell(request: dict[str, object], conversation: int, *files: int) -> int:
    """Runs the command in a child, and tells its process id, then how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        os.close(conversation)
        return _run(request, files)
    os.write(conversation, b"%d" % child)
    _, status = os.waitpid(child, 0)
    os.write(conversation, b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _run(request: dict[str, object], files: Sequence[int]) -> int:
    from discordfs.cli import main

    arguments, env = request["arguments"], request["env"]
    assert isinstance(arguments, list)
    assert isinstance(env, dict)
    for number, each in enumerate(files):
        os.dup2(each, number)
        os.close(each)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(str(request["cwd"]))
    sys.argv = ["discordfs", *arguments]
    dying.arm(os.environ)
    return main()


if __name__ == "__main__":
    import importlib

    for name in _PRELOADED:
        importlib.import_module(f"discordfs.cli.{name}")
    sys.exit(serve(socket.socket(fileno=os.dup(0))))
