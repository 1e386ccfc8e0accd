"""Is the drive as it should be? Checks of index, log and chunks, and what mends what they find.

checking.py is the door; each check yields `Finding`s (findings.py), each fault with its own repair.
"""
