"""The error tree. Types only: no errno lives here (those stand in one table, in operations.py).

A message says what happened, to what, and what the user can do.

    DiscordfsError
    ├── UsageError            the user asked for something that cannot be (bad option, bad mountpoint)
    │   ├── ConfigError       a setting, a state directory or a key is missing or wrong
    │   │   └── FormatError   a format or version this release does not know; refused, nothing touched
    │   └── BusyError         somebody else holds it: a mount, a state directory, a volume
    ├── MissingError          no such mount, volume, channel or thing (exit code 3)
    ├── FilesystemError       what POSIX has a name for; each class has its errno in operations.py
    │   ├── NoEntry, EntryExists, NotADirectory, IsADirectory, DirectoryNotEmpty
    │   ├── NameTooLong, InvalidArgument, TooManyLinks, FileTooBig, BadHandle
    │   ├── ReadOnly, NotPermitted, NoSpace, NotSupported
    │   └── NoAttribute, AttributeTooBig
    ├── RemoteError           Discord said no, or did not say anything
    │   ├── Unavailable       for now: network, 5xx, timeout; try again later (exit code 75)
    │   │   └── OutcomeUnknown  the request may have been carried out: find out before repeating it
    │   ├── RateLimited       told to wait (carries seconds)
    │   ├── Unauthorized      401: the token is no good; nothing is asked until there is a new one
    │   ├── Forbidden         403: this bot may not do that here
    │   ├── RemoteGone        404: the message, channel or attachment does not exist
    │   ├── TooLarge          413 or 40005: a file or request over the server's limit
    │   └── BadRequest        another 4xx: ours to mend
    ├── Damaged               bytes are not what was sealed: never returned as data
    ├── VideoError            a file that cannot be read as a video; asking again changes nothing
    ├── TimedOut              a wait of ours ended (seconds are said)
    └── Interrupted           the caller went away while it waited
"""

from __future__ import annotations


class DiscordfsError(Exception):
    """Whatever this project raises on purpose."""


class UsageError(DiscordfsError):
    """The user asked for something that cannot be."""


class ConfigError(UsageError):
    """A setting, state directory or key is missing or wrong."""


class FormatError(ConfigError):
    """A format or version that this release does not know."""


class BusyError(UsageError):
    """Somebody else holds it."""


class MissingError(DiscordfsError):
    """No such mount, volume, channel or thing."""


class FilesystemError(DiscordfsError):
    """A refusal that POSIX has a name for."""


class NoEntry(FilesystemError):
    """No such file or directory."""


class EntryExists(FilesystemError):
    """The name is taken."""


class NotADirectory(FilesystemError):
    """A path component is no directory."""


class IsADirectory(FilesystemError):
    """The operation needs something that is no directory."""


class DirectoryNotEmpty(FilesystemError):
    """A directory that still has entries."""


class NameTooLong(FilesystemError):
    """A name over 255 bytes, or a path over 4,096."""


class InvalidArgument(FilesystemError):
    """An argument that has no meaning here, such as moving a directory into itself."""


class TooManyLinks(FilesystemError):
    """The inode's link count is at its maximum."""


class FileTooBig(FilesystemError):
    """Beyond 2**63 - 1 bytes, the largest offset there is."""


class BadHandle(FilesystemError):
    """A handle that is not open, or not open for this."""


class ReadOnly(FilesystemError):
    """Writing where nothing may be written."""


class NotPermitted(FilesystemError):
    """An operation that is never allowed on this kind of thing."""


class NoSpace(FilesystemError):
    """Staging is at its quota, or the local disk is full."""


class NotSupported(FilesystemError):
    """Something this filesystem does not offer."""


class NoAttribute(FilesystemError):
    """No such extended attribute."""


class AttributeTooBig(FilesystemError):
    """An extended attribute over 64 KiB, or a list of names over that."""


class RemoteError(DiscordfsError):
    """Discord said no, or nothing at all."""


class Unavailable(RemoteError):
    """For now: network down, 5xx, timeout."""


class OutcomeUnknown(Unavailable):
    """The answer was lost: the request may have been carried out."""


class RateLimited(RemoteError):
    """Told to wait `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unauthorized(RemoteError):
    """The token is not accepted."""


class Forbidden(RemoteError):
    """This bot may not do that here."""


class RemoteGone(RemoteError):
    """The message, channel or attachment does not exist."""


class TooLarge(RemoteError):
    """A file or a request over the server's limit."""


class BadRequest(RemoteError):
    """Another 4xx; `code` is Discord's error code, 0 where it gave none."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Damaged(DiscordfsError):
    """Bytes that are not what was sealed."""


class VideoError(DiscordfsError):
    """A file that cannot be read as a video."""


class TimedOut(DiscordfsError):
    """A wait of ours ended."""


class Interrupted(DiscordfsError):
    """The caller went away while it waited."""
