"""Posting, reading and deleting: a drive loses data if any of these differs from Discord."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import aiohttp

from .harness import NO_LIMITS, Client, Emulate, form

DAY = 86400


def ids(messages: Any) -> list[str]:
    return [each["id"] for each in messages]


def test_files_come_back_as_they_were_sent(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        contents = {"a.bin": bytes(range(256)) * 9000, "b.bin": b"", "c.bin": b"\r\n--x\r\n--"}
        message = await client.posted("", contents)
        assert [each["filename"] for each in message["attachments"]] == list(contents)
        for attachment, content in zip(message["attachments"], contents.values(), strict=True):
            assert attachment["size"] == len(content)
            assert (await client.fetch("GET", attachment["url"])).data == content

    emulate(scenario, NO_LIMITS)


def test_attachment_ids_choose_names_and_descriptions(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        said = [{"id": 1, "description": "second"}, {"id": 0, "filename": "renamed.bin"}]
        message = await client.posted("x", {"a.bin": b"a", "b.bin": b"b"}, attachments=said)
        first, second = message["attachments"]
        assert (first["filename"], second["filename"]) == ("renamed.bin", "b.bin")
        assert second["description"] == "second"

    emulate(scenario, NO_LIMITS)


def test_names_are_cleaned_and_images_changed(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        names = {
            "__a b.bin": "a_b.bin",
            "дата.bin": "unknown.bin",
            ".hidden": "unknown.hidden",
            "x(1).tar.gz": "x1.tar.gz",
        }
        message = await client.posted("", dict.fromkeys(names, b"x"))
        assert [each["filename"] for each in message["attachments"]] == list(names.values())
        image = (await client.posted("", {"pic.PNG": b"not really an image"}))["attachments"][0]
        got = (await client.fetch("GET", image["url"])).data
        assert got != b"not really an image"
        assert len(got) == image["size"]

    emulate(scenario, NO_LIMITS)


def test_a_nonce_posts_once(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        posts = [client.posted("x", {"a.bin": b"a"}, nonce="once", enforce_nonce=True) for _ in range(5)]
        first, *others = await asyncio.gather(*posts)
        assert {each["id"] for each in others} == {first["id"]}
        assert first["nonce"] == "once"
        stats = await client.stats()
        assert (stats["messages"], stats["attachments"]) == (1, 1)
        assert (await client.posted("x", nonce="once"))["id"] != first["id"]  # not enforced
        await client.control("POST", "/clock", advance_s=301)
        assert (await client.posted("x", nonce="once", enforce_nonce=True))["id"] != first["id"]

    emulate(scenario, NO_LIMITS)


def test_a_nonce_is_free_again_when_its_message_is_gone(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        first = await client.posted("x", nonce="n", enforce_nonce=True)
        await client.ask("DELETE", f"{client.messages}/{first['id']}")
        assert (await client.posted("x", nonce="n", enforce_nonce=True))["id"] != first["id"]

    emulate(scenario, NO_LIMITS)


def test_listings_are_newest_first_whatever_the_cursor(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        made = [(await client.posted(str(number)))["id"] for number in range(10)]

        async def listed(query: str) -> list[str]:
            return ids((await client.ask("GET", f"{client.messages}?{query}")).json)

        assert await listed("limit=3") == made[:6:-1]
        assert await listed(f"limit=3&before={made[5]}") == [made[4], made[3], made[2]]
        assert await listed(f"limit=3&after={made[5]}") == [made[8], made[7], made[6]]
        assert await listed(f"limit=4&around={made[5]}") == [made[7], made[6], made[5], made[4]]
        assert await listed("after=0&limit=100") == made[::-1]
        assert await listed(f"after={made[-1]}") == []

    emulate(scenario, NO_LIMITS)


def test_listings_may_lag_behind(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        message = await client.posted("late")
        assert (await client.ask("GET", client.messages)).json == []
        assert (await client.ask("GET", f"{client.messages}/{message['id']}")).status == 200
        await client.control("POST", "/clock", advance_s=61)
        assert ids((await client.ask("GET", client.messages)).json) == [message["id"]]

    emulate(scenario, NO_LIMITS, "list_lag_ms=60000")


def test_edits_keep_or_drop_attachments(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        message = await client.posted("x", {"a.bin": b"a", "b.bin": b"b"})
        path = f"{client.messages}/{message['id']}"
        first, second = message["attachments"]
        kept = (await client.ask("PATCH", path, json={"content": "y"})).json
        assert ids(kept["attachments"]) == [first["id"], second["id"]]
        assert kept["edited_timestamp"]
        payload = {"attachments": [{"id": second["id"]}, {"id": 0}]}
        changed = (await client.ask("PATCH", path, data=form(payload, {"c.bin": b"c"}))).json
        assert [each["filename"] for each in changed["attachments"]] == ["b.bin", "c.bin"]
        assert (await client.fetch("GET", first["url"])).status == 404
        assert (await client.fetch("GET", changed["attachments"][1]["url"])).data == b"c"
        emptied = await client.ask("PATCH", path, json={"content": None, "attachments": []})
        assert emptied.code == 50006

    emulate(scenario, NO_LIMITS)


def test_files_die_with_their_message(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        message = await client.posted("", {"a.bin": b"a"})
        assert (await client.ask("DELETE", f"{client.messages}/{message['id']}")).status == 204
        assert (await client.ask("DELETE", f"{client.messages}/{message['id']}")).code == 10008
        assert (await client.fetch("GET", message["attachments"][0]["url"])).status == 404
        assert (await client.stats())["stored_bytes"] == 0

    emulate(scenario, NO_LIMITS)


def test_bulk_delete_has_its_rules(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        old = (await client.posted("old"))["id"]
        await client.control("POST", "/clock", advance_s=15 * DAY)
        young = [(await client.posted("young"))["id"] for _ in range(3)]
        path = f"{client.messages}/bulk-delete"
        assert (await client.ask("POST", path, json={"messages": young[:1]})).code == 50035
        assert (await client.ask("POST", path, json={"messages": [old, young[0]]})).code == 50034
        assert (await client.ask("POST", path, json={"messages": young[:2]})).status == 204
        assert ids((await client.ask("GET", client.messages)).json) == [young[2], old]

    emulate(scenario, NO_LIMITS)


def test_what_is_too_large_is_refused_in_a_readable_way(emulate: Emulate) -> None:
    """A client that sees a reset instead of the 413 would retry for ever."""

    async def scenario(client: Client) -> None:
        for sizes in ([1 << 20, (3 << 20) + 1], [2 << 20, 2 << 20, 2 << 20]):
            refused = await client.post("", {f"{n}.bin": bytes(size) for n, size in enumerate(sizes)})
            assert (refused.status, refused.code) == (413, 40005)
        assert (await client.post("", {"a.bin": bytes(3 << 20)})).status == 200
        stats = await client.stats()
        assert (stats["messages"], stats["stored_bytes"]) == (1, 3 << 20)

    emulate(scenario, NO_LIMITS, "file_limit=3M", "request_limit=5M")


def test_a_body_of_unknown_length_is_limited_too(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        async def endless() -> Any:
            yield b'--b\r\nContent-Disposition: form-data; name="files[0]"; filename="a.bin"\r\n\r\n'
            for _ in range(40):
                yield bytes(1 << 18)
            yield b"\r\n--b--\r\n"

        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        refused = await client.ask("POST", client.messages, data=endless(), headers=headers)
        assert refused.code == 40005

    emulate(scenario, NO_LIMITS, "request_limit=5M")


def test_an_upload_that_breaks_off_leaves_nothing(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        async def breaks() -> Any:
            yield b'--b\r\nContent-Disposition: form-data; name="files[0]"; filename="a.bin"\r\n\r\n' + bytes(
                9999
            )
            raise OSError("the network is gone")

        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        with contextlib.suppress(OSError, aiohttp.ClientError):
            await client.ask("POST", client.messages, data=breaks(), headers=headers)
        while (await client.stats())["uploads"]:
            await asyncio.sleep(0)
        stats = await client.stats()
        assert (stats["messages"], stats["attachments"]) == (0, 0)
        incoming = client.emulator.context.files.new_incoming().parent
        assert list(incoming.iterdir()) == []

    emulate(scenario, NO_LIMITS)


def test_pins(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        made = [(await client.posted(str(number)))["id"] for number in range(3)]
        for message_id in made:
            assert (await client.ask("PUT", f"{client.messages}/pins/{message_id}")).status == 204
            await client.control("POST", "/clock", advance_s=1)
        page = (await client.ask("GET", f"{client.messages}/pins?limit=2")).json
        assert ([each["message"]["id"] for each in page["items"]], page["has_more"]) == (made[:0:-1], True)
        before = page["items"][-1]["pinned_at"]
        rest = (await client.ask("GET", f"{client.messages}/pins?before={before.replace('+', '%2B')}")).json
        assert ([each["message"]["id"] for each in rest["items"]], rest["has_more"]) == (made[:1], False)
        await client.ask("DELETE", f"{client.messages}/pins/{made[0]}")
        assert len((await client.ask("GET", f"{client.messages}/pins")).json["items"]) == 2

    emulate(scenario, NO_LIMITS)


def test_edits_at_the_same_time_do_not_undo_each_other(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        message = await client.posted("x", {"a.bin": b"a"})
        path = f"{client.messages}/{message['id']}"
        await asyncio.gather(
            *(client.ask("PATCH", path, data=form({}, {f"{number}.bin": b"x"})) for number in range(5)),
            client.ask("PATCH", path, json={"content": "y"}),
        )
        after = (await client.ask("GET", path)).json
        names = sorted(each["filename"] for each in after["attachments"])
        assert (after["content"], names) == ("y", ["0.bin", "1.bin", "2.bin", "3.bin", "4.bin", "a.bin"])

    emulate(scenario, NO_LIMITS)


def test_a_channel_takes_its_messages_with_it(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        message = await client.posted("x", {"a.bin": b"a"})
        assert (await client.ask("DELETE", f"/channels/{client.channel}")).status == 200
        assert (await client.post("x")).code == 10003
        assert (await client.fetch("GET", message["attachments"][0]["url"])).status == 404
        stats = await client.stats()
        assert (stats["messages"], stats["attachments"]) == (0, 0)

    emulate(scenario, NO_LIMITS)


def test_cursors_exclude_one_another(emulate: Emulate) -> None:
    async def scenario(client: Client) -> None:
        assert (await client.ask("GET", f"{client.messages}?before=1&after=2")).code == 50035

    emulate(scenario, NO_LIMITS)
