"""How an archive run is made: what is asked of Discord, and how it is written down as it happens.

`run.Capture` is the door; archive.py hands it to users of the library. Plain threads, one for each channel
that is being captured, over the one asyncio loop and limiter.
"""
