"""How archives are read: runs, what they say together, the files that are derived from them, search."""
