"""`python mount.py MOUNTPOINT …`: the same as `discordfs mount MOUNTPOINT …`.

Says how to install what is missing, so it imports nothing of ours before it has looked.
"""

import sys
from importlib.util import find_spec

NEEDED = [
    *("aiohttp", "av", "blake3", "cachetools", "click", "cryptography", "discord", "dotenv", "fsspec"),
    *("fuse", "msgpack", "platformdirs", "rich", "sqlite_utils", "xxhash", "zstandard"),
]


def main() -> int:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(
            f"mount.py: this Python lacks {', '.join(missing)}. In this folder run `make demo`, which "
            "installs them into .venv, and then `.venv/bin/python mount.py …`; or `python3 -m pip install .`",
            file=sys.stderr,
        )
        return 1
    from discordfs.cli import main as run

    return run(["mount", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
