"""The clips: a catalogue of the videos of chosen channels, and the clips/ tree over it."""
