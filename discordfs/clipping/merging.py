"""Two accounts of one clip made one, so that nothing once known is lost. Threading: pure."""

from __future__ import annotations

from dataclasses import replace

from discordfs.clipping.model import Clip, Facts, Look


def merged(old: Clip, new: Clip) -> Clip:
    """Both together, in whichever order they came: the newer text, the link that lasts longest, and whatever
    only one of them knows."""
    is_newer = new.edited_ns > old.edited_ns
    has_longer = new.expires_ns > old.expires_ns or not old.url
    return replace(
        old,
        alias=old.alias or new.alias,
        content_type=old.content_type or new.content_type,
        size=old.size or new.size,
        url=new.url if has_longer and new.url else old.url,
        expires_ns=max(old.expires_ns, new.expires_ns),
        description=new.description if is_newer or not old.description else old.description,
        edited_ns=max(old.edited_ns, new.edited_ns),
        deleted_ns=old.deleted_ns or new.deleted_ns,
        facts=merged_facts(old.facts, new.facts),
        look=old.look if old.look is not Look.WAITING else new.look,
        look_error=old.look_error or new.look_error,
        kept=old.kept or new.kept,
    )


def merged_facts(old: Facts, new: Facts) -> Facts:
    """The newer where both know."""
    return Facts(
        old.runtime if new.runtime is None else new.runtime,
        old.width if new.width is None else new.width,
        old.height if new.height is None else new.height,
        new.codec or old.codec,
        old.has_audio if new.has_audio is None else new.has_audio,
    )
