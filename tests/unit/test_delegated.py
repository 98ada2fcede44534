"""`delegated`: the kind that it gives a method, and what it refuses."""

from __future__ import annotations

import collections.abc
import inspect
import typing
from typing import Any

import pytest

from cluster_client import APIClientBase, ConfigurationError, Delegate, delegated
from cluster_client._delegated import natural_kind
from cluster_client.api import generated_attributes


class Real:
    """Methods as type checkers tell them apart."""

    async def get(self, key: str) -> str:
        return key

    async def iterator_later(self) -> collections.abc.AsyncIterator[int]:
        return self.history()

    def size(self) -> int:
        return 0

    def rows(self) -> list[int]:
        return []

    def untyped(self):  # type: ignore[no-untyped-def]
        return []

    async def history(self) -> collections.abc.AsyncIterator[int]:
        yield 1

    def lines(self) -> collections.abc.Iterator[int]:
        yield 1

    def lent(self) -> collections.abc.AsyncIterator[int]:
        return self.history()

    def lent_by_typing(self) -> typing.Iterator[int]:
        return self.lines()

    def evaluated(self) -> Any:
        return self.lines()

    evaluated.__annotations__["return"] = collections.abc.AsyncGenerator[int, None]

    def bare(self) -> Any:
        return self.lines()

    bare.__annotations__["return"] = collections.abc.Generator

    def watch(self, reg: object, listener: object) -> None: ...


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("get", "invoke"),
        ("iterator_later", "invoke"),
        ("size", "invoke"),
        ("rows", "invoke"),
        ("untyped", "invoke"),
        ("history", "stream"),
        ("lines", "stream"),
        ("lent", "stream"),
        ("lent_by_typing", "stream"),
        ("evaluated", "stream"),
        ("bare", "stream"),
    ],
)
def test_iterators_are_streamed_as_their_types_say(name: str, kind: str) -> None:
    assert natural_kind(getattr(Real, name)) == kind
    assert delegated(getattr(Real, name)).options == Delegate(kind)


def test_the_kind_may_be_said() -> None:
    oneway = delegated(Real.get, kind="invoke_oneway", idempotent=True, response_timeout=2)
    assert oneway.options == Delegate("invoke_oneway", True, 2)
    assert delegated(Real.rows, kind="stream").options.kind == "stream"
    assert delegated(Real.lent, kind="invoke").options.kind == "invoke"


@pytest.mark.parametrize("kind", ["subscribe", "publish", "close", "call"])
def test_other_kinds_are_for_the_facades_delegates(kind: Any) -> None:
    with pytest.raises(
        ConfigurationError,
        match=rf"delegated\(Real.watch, kind='{kind}'\) is no call, which are invoke, invoke_",
    ):
        delegated(Real.watch, kind=kind)


def test_a_facade_tells_what_was_generated() -> None:
    class Base(APIClientBase[Real]):
        data_client = Real
        cluster_options = {"auto_generate": False}
        delegates = {"size": Delegate(name="length"), "watch": "subscribe"}
        fetch = delegated(Real.get)

        async def get(self, key: str) -> str:
            return key

    class Derived(Base):
        async def length(self) -> int:
            return 0

    generated = generated_attributes(Base)
    assert list(generated) == ["fetch", "watch", "length"]
    assert generated["watch"] == "subscribe"
    assert [getattr(generated[name], "target", None) for name in ("fetch", "length")] == [
        "get",
        "size",
    ]
    assert set(generated_attributes(Derived)) == {"fetch", "watch"}
    assert generated_attributes(APIClientBase) == {}


def test_delegates_of_base_facades_hold() -> None:
    class Base(APIClientBase[Real]):
        data_client = Real
        delegates = {"get": "invoke_oneway", "size": "invoke"}
        fetch = delegated(Real.rows)

    class Special(Real):
        async def special(self) -> None: ...

    class Derived(Base):
        data_client = Special
        delegates = {"size": "invoke_oneway", "special": Delegate(idempotent=True)}

    assert Derived.delegates == {
        "get": "invoke_oneway",
        "size": "invoke_oneway",
        "rows": Delegate(),
        "special": Delegate(idempotent=True),
    }

    class Unrelated:
        async def answer(self) -> int:
            return 42

    class Moved(Base):
        data_client = Unrelated  # type: ignore[assignment]
        delegates = {"answer": "invoke"}

    assert Moved.delegates == {"answer": "invoke"}


def test_a_facade_may_call_an_inherited_delegate_in_another_way() -> None:
    class Base(APIClientBase[Real]):
        data_client = Real
        delegates = {"rows": "invoke", "size": "invoke", "watch": "subscribe"}

        async def size(self) -> int:
            return 0

    class Derived(Base):
        delegates = {"rows": "stream", "size": "invoke_oneway"}

    assert generated_attributes(Base)["rows"] is not generated_attributes(Derived)["rows"]
    assert inspect.iscoroutinefunction(Base.rows)  # type: ignore[attr-defined]
    assert not inspect.iscoroutinefunction(Derived.rows)  # type: ignore[attr-defined]
    assert Derived.size is Base.size, "what the user writes is kept"
    assert Derived.get is Base.get  # type: ignore[attr-defined]
