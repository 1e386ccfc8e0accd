"""Discord behind two contracts (base.py): messages that hold bytes, and the raw API.

All of it is asyncio and lives on the one thread of loop.py; the rest of the house uses plain threads and
comes in through Loop.call.
"""
