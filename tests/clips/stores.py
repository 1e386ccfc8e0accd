"""For tests of stores: an emulator of Google Cloud Storage as a process, over HTTP."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from urllib.error import URLError

BUCKET = "clips"

_RUNNER = """
import sys
from gcp_storage_emulator.handlers import objects
insert = objects.insert
def posted(request, response, storage, *arguments, **more):  # Google takes parts by POST too; this one by PUT
    is_part = "upload_id" in request.query
    return (objects.upload_partial if is_part else insert)(request, response, storage, *arguments, **more)
objects.insert = posted
from gcp_storage_emulator.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


class Gcs:
    """It keeps its objects in memory: what is stopped comes back empty."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def environment(self) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{self.port}", "BUCKET_NAME": BUCKET}

    def start(self) -> None:
        command = [sys.executable, "-c", _RUNNER, "start", "--host=127.0.0.1"]
        self._process = subprocess.Popen(
            [*command, f"--port={self.port}", "--in-memory", f"--default-bucket={BUCKET}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(400):
            try:
                self.names()
                return
            except (URLError, OSError):
                assert self._process.poll() is None, "the storage emulator does not start"
                time.sleep(0.05)
        raise AssertionError("the storage emulator does not answer")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def names(self) -> set[str]:
        with urllib.request.urlopen(f"{self._base}/o", timeout=5) as answer:
            return {item["name"] for item in json.load(answer).get("items", ())}

    def get(self, name: str) -> bytes:
        url = f"{self._base}/o/{urllib.parse.quote(name, safe='')}?alt=media"
        with urllib.request.urlopen(url, timeout=5) as answer:
            data: bytes = answer.read()
        return data

    @property
    def _base(self) -> str:
        return f"http://127.0.0.1:{self.port}/storage/v1/b/{BUCKET}"
