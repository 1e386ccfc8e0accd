"""The parts of chunkstore.py, which is the door: packing (files into sealed chunks), layout (chunks over
attachments, and their recognition), fetching (blocks out of messages)."""
