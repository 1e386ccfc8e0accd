"""The socket of a running mount: other commands ask it, as one process alone owns a state directory.

A Unix socket (0600) in the state directory speaks JSON lines. A request is {"command": …, arguments}; the
answer is any number of {"progress": …} and then one {"result": …} or {"error": …, "kind": …}. When the
asker hangs up, its command is told at its next progress.

Limits: a line of 64 KiB. A socket's path may have 107 bytes (unix(7)), a state directory's more: both
sides go through /proc/self/fd.
Threading: the server has one thread that accepts and one a connection; handlers run on the latter.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from discordfs import errors
from discordfs.errors import DiscordfsError, Interrupted, MissingError

log = logging.getLogger(__name__)

SOCKET = "control.sock"
LONGEST_LINE = 64 * 1024

Progress = Callable[[Mapping[str, Any]], None]
Handler = Callable[[Mapping[str, Any], Progress], Any]
"""(arguments, progress) -> result; all of it JSON. Raises DiscordfsError."""


@contextmanager
def _short_path(directory: Path) -> Iterator[str]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)


class ControlServer:
    """Answers commands from `start` to `stop`. The caller holds the state directory's lock, so a socket
    that is there already is a dead one's."""

    def __init__(self, directory: Path, handlers: Mapping[str, Handler]) -> None:
        self._directory = directory
        self._handlers = handlers
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connections: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._accepter = threading.Thread(target=self._accept_for_ever, name="discordfs-control")

    def start(self) -> None:
        (self._directory / SOCKET).unlink(missing_ok=True)
        with _short_path(self._directory) as path:
            self._listener.bind(path)
            os.chmod(path, 0o600)
        self._listener.listen(16)
        self._accepter.start()

    def stop(self) -> None:
        """Hangs up on everybody, and waits for the handlers to notice."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepter.join()
        self._listener.close()
        for connection in tuple(self._connections):
            _hang_up(connection)
        for thread in tuple(self._threads):
            thread.join()
        (self._directory / SOCKET).unlink(missing_ok=True)

    def _accept_for_ever(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # shut down by stop()
                return
            thread = threading.Thread(target=self._serve, args=(connection,), name="discordfs-control-call")
            self._connections.add(connection)
            self._threads.add(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as lines:
                for line in iter(lambda: lines.readline(LONGEST_LINE), b""):
                    _send(connection, self._answer(line, connection))
        except (OSError, Interrupted):
            log.debug("a command hung up")
        finally:
            self._connections.discard(connection)
            self._threads.discard(threading.current_thread())

    def _answer(self, line: bytes, connection: socket.socket) -> Mapping[str, Any]:
        try:
            request = json.loads(line)
            handler = self._handlers[request["command"]]
        except (ValueError, KeyError, TypeError):
            return {"error": "this mount does not know that command", "kind": "UsageError"}
        try:
            return {"result": handler(request, lambda news: _progress(connection, news))}
        except Interrupted:
            raise
        except DiscordfsError as error:
            return {"error": str(error), "kind": type(error).__name__}
        except Exception as error:
            log.exception("control command %s failed", request["command"])
            return {"error": f"{type(error).__name__}: {error} (see the log)", "kind": "DiscordfsError"}


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        log.debug("hanging up: %s", error)  # it had gone by itself


def _send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _progress(connection: socket.socket, news: Mapping[str, Any]) -> None:
    try:
        _send(connection, {"progress": news})
    except OSError as error:
        raise Interrupted("the asker hung up") from error


# --- the other side -----------------------------------------------------------------------------------


def call(
    directory: Path,
    command: str,
    arguments: Mapping[str, Any] | None = None,
    progress: Progress = lambda news: None,
) -> Any:
    """Asks the mount that owns this state directory. Raises MissingError when there is none, or the error
    that the command gave."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        _connect(connection, directory)
        _send(connection, {**(arguments or {}), "command": command})
        with connection.makefile("rb") as lines:
            return _await_result(lines, progress)


def _connect(connection: socket.socket, directory: Path) -> None:
    try:
        with _short_path(directory) as path:
            connection.connect(path)
    except OSError as error:
        raise MissingError(f"no mount answers in {directory}: {error.strerror}") from None


def _await_result(lines: BinaryIO, progress: Progress) -> Any:
    for line in lines:
        message = json.loads(line)
        if "progress" in message:
            progress(message["progress"])
        elif "error" in message:
            raise _error(message)
        else:
            return message["result"]
    raise MissingError("the mount ended before it answered")


def _error(message: Mapping[str, Any]) -> DiscordfsError:
    kind = getattr(errors, message["kind"], DiscordfsError)
    try:
        return kind(message["error"])
    except TypeError:  # an error with more arguments than its text
        return DiscordfsError(message["error"])
