"""Calls of delegates that are typed with `delegated`."""

from __future__ import annotations

from typing import assert_type

from cluster_client import Stream
from typed_facade import TypedAPI


async def right(api: TypedAPI) -> None:
    assert_type(await api.get_data("k", 1, strict=True), int)
    assert_type(await api.number_of_rows(), int)
    assert_type(await api.rows("t"), list[str])
    assert_type(api.row_by_row("t"), Stream[str])
    assert_type(api.history("k"), Stream[str])
    assert_type(api.lines("p"), Stream[bytes])
    assert_type(api.chunks(path="p"), Stream[bytes])
    assert_type(api.search("1"), Stream[float])
    await api.remove("k")
    async with TypedAPI("zk:2181") as opened:
        assert_type(opened, TypedAPI)


async def wrong(api: TypedAPI) -> None:
    await api.get_data(1)  # error: wrong type
    await api.get_data()  # error: missing
    await api.get_data("k", strct=True)  # error: unknown
    await api.number_of_rows("t")  # error: too many
    await api.remove()  # error: missing
    api.get_data("k")  # error: not awaited
    removed: bool = await api.remove("k")  # error: nothing comes back
    await api.history("k")  # error: a stream is iterated over
    api.lines(b"p")  # error: wrong type
    async for _ in api.get_data("k"):  # error: a coroutine is awaited
        pass
    async for item in api.history("k"):
        item.decode()  # error: these are strings
