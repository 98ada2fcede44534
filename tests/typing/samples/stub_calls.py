"""Calls of delegates that a generated stub declares."""

from __future__ import annotations

from typing import assert_type

from cluster_client import Stream
from stubbed_facade import LIMIT, DerivedAPI, LocalAPI, LocalRegistry, StubbedAPI, make


async def right(api: StubbedAPI, local: LocalAPI, derived: DerivedAPI) -> None:
    assert_type(await api.get("k", 1, strict=True), int)
    assert_type(await api.get_data("k"), int)
    assert_type(await api.number_of_rows(), int)
    assert_type(api.rows("t"), Stream[str])
    assert_type(api.history("k"), Stream[str])
    assert_type(api.lines("p"), Stream[bytes])
    assert_type(api.search("1"), Stream[float])
    await api.remove("k")
    await api.watch({"path": "/k"}, print)
    await api.subscribe({"path": "/k"}, print)
    await api.parse("not known to be wrong", 1)
    async for key in api.keys():
        assert_type(key, str)
    assert_type(local.history("k"), Stream[str])
    assert_type(await local.get_data("k"), int)
    assert_type(await derived.number_of_rows(), int)
    assert_type(derived.chunks("p"), Stream[bytes])
    assert_type(make("zk:2181"), StubbedAPI)
    assert_type(LIMIT, int)
    async for item in LocalRegistry().history("k"):
        assert_type(item, str)


async def wrong(api: StubbedAPI, local: LocalAPI, derived: DerivedAPI) -> None:
    await api.get(1)  # error: wrong type
    await api.get()  # error: missing
    await api.get_data("k", 1)  # error: its own method takes one
    await api.number_of_rows("t")  # error: too many
    await api.number_of_row()  # error: no such delegate
    await api.size()  # error: it has another name
    api.get("k")  # error: not awaited
    removed: bool = await api.remove("k")  # error: nothing comes back
    await api.history("k")  # error: a stream is iterated over
    api.lines(b"p")  # error: wrong type
    await api.watch({"path": "/k"})  # error: no listener
    await local.get_data(1)  # error: wrong type
    await local.remove("k")  # error: the other facade's
    await derived.number_of_rows("t")  # error: too many
    await derived.remove()  # error: missing
    make(1)  # error: wrong type
