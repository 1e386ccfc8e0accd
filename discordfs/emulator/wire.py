"""Ends a connection without an answer. Threading: event loop only."""

from __future__ import annotations

import socket
import struct

from aiohttp import web

_LINGER_NOT = struct.pack("ii", 1, 0)  # on, 0 seconds: closing sends RST and drops what is unsent


def abort(request: web.Request, reset: bool) -> None:
    """Closes the client's connection at once: with a TCP reset, or after the bytes already written."""
    transport = request.transport
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    handle = transport.get_extra_info("socket")
    if handle is not None:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()
