"""What must not stand in an archive is taken out: the account's token, tokens of webhooks and interactions.

Works on text, so that the rest of a body stays as it came. A token is looked for literally, in URLs
(`webhooks/ID/TOKEN`, `interactions/ID/TOKEN`) and as a value of JSON under a key that is one for tokens. In a
string within JSON the quotes are escaped, so what people wrote about tokens is left alone; URLs are not,
since a webhook's URL is as good as its token wherever it stands.
Threading: any thread; nothing changes after the constructor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from discordfs.remote.base import SCRUBBED

_IN_URL = re.compile(
    r"((?:webhooks|interactions)(?:\\?/|%2[Ff])\d{5,20}(?:\\?/|%2[Ff]))([A-Za-z0-9_.\-]{16,})"
)
_AS_VALUE = re.compile(
    r'("(?:token|access_token|refresh_token|analytics_token|auth_token)"\s*:\s*)"(?!\[SCRUBBED\]")[^"]+"'
)
_TOKEN_OPTIONS = ("-t", "--token")


class Scrubber:
    """`secrets`: tokens to look for wherever they stand. `is_off`: gives everything back as it came."""

    def __init__(self, secrets: Iterable[str], is_off: bool = False) -> None:
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._is_off = is_off

    def text(self, text: str) -> str:
        """The text without what is secret. The same object when there is nothing in it."""
        if self._is_off:
            return text
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, SCRUBBED)
        if "webhooks" in text or "interactions" in text:
            text = _IN_URL.sub(rf"\1{SCRUBBED}", text)
        if 'token"' in text:
            text = _AS_VALUE.sub(rf'\1"{SCRUBBED}"', text)
        return text

    def unscrubbed(self, sent: str) -> str:
        """What was sent to the gateway, with the token where the connection left it out, if that is
        wanted."""
        return sent.replace(SCRUBBED, self._secrets[0]) if self._is_off and self._secrets else sent

    def command(self, argv: Sequence[str]) -> list[str]:
        """A command line; also without what stands where a token is given, whatever it is."""
        if self._is_off:
            return list(argv)
        cleaned = []
        for number, word in enumerate(argv):
            before = argv[number - 1] if number else ""
            is_token = before in _TOKEN_OPTIONS or re.fullmatch(r"-[A-Za-z]*t", before) is not None
            if word.startswith("--token="):
                word = f"--token={SCRUBBED}"
            elif re.match(r"-U?t.", word) and not word.startswith("--"):
                word = f"{word[: word.index('t') + 1]}{SCRUBBED}"
            cleaned.append(SCRUBBED if is_token else self.text(word))
        return cleaned
