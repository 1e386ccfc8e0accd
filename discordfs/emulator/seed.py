"""Fills a new server with a little of everything, for trials and screenshots; a second call changes
nothing.

Threading: event loop only.
"""

from __future__ import annotations

from .context import Context


async def seed_server(context: Context) -> None:
    """Channels, people, messages with files."""
