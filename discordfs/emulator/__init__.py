"""Discord on loopback: HTTP API v10, gateway and CDN in one process, kept in a directory.

It imports nothing else of discordfs, so that it can judge it. State: SQLite and files in one directory,
which one process owns. `Emulator` is for an event loop, `run` blocks; both serve 127.0.0.1 alone.
"""

from .database import NewerFormat
from .faults import Fault, FaultError
from .run import run
from .server import Address, DirectoryBusy, Emulator
from .settings import Settings, SettingsError

__all__ = [
    "Address",
    "DirectoryBusy",
    "Emulator",
    "Fault",
    "FaultError",
    "NewerFormat",
    "Settings",
    "SettingsError",
    "run",
]
