"""Delegates: what is reachable, how it is called, and what cannot work."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from cluster_client import ConfigurationError, Delegate, delegate
from cluster_client._delegates import DelegateTable, delegate_function


class Real:
    """A real client of every kind of method."""

    kind = "attribute"

    async def get(self, key: str, default: Any = None, *, strict: bool = False) -> Any:
        """Return a value."""

    async def start(self) -> None: ...

    async def _private(self) -> None: ...

    async def rows(self) -> Any:
        yield 1

    def size(self) -> int:
        return 0

    def subscribe(self, reg: Any, listener: Any) -> None: ...

    def unsubscribe(self, reg: Any, listener: Any) -> None: ...

    async def publish(self, reg: Any) -> None: ...

    @delegate(idempotent=True, response_timeout=9, name="number_of_rows")
    def count(self, table: str) -> int:
        return len(table)

    @classmethod
    async def of_class(cls, key: str) -> str:
        return key

    @staticmethod
    async def static(key: str) -> str:
        return key


RESERVED = {"subscribe", "state"}


def table(cls: type[Any] = Real, *, auto: bool = True, **explicit: Delegate) -> DelegateTable:
    return DelegateTable(cls, explicit, auto_generate=auto, reserved=RESERVED)


def test_what_is_public_and_asynchronous_is_delegated_unnamed() -> None:
    assert set(table().by_target) == {"get", "rows", "publish", "count", "of_class", "static"}
    assert set(table(auto=False).by_target) == {"publish", "count"}


def test_a_decorated_method_stays_an_ordinary_method() -> None:
    assert Real().count("abc") == 3
    method = table().by_name["number_of_rows"]
    assert (method.target, method.idempotent, method.response_timeout) == ("count", True, 9)


def test_what_is_named_beats_the_decorator() -> None:
    assert table(count=Delegate()).by_name["count"].idempotent is False


def test_subscribe_unsubscribe_and_publish_play_their_parts() -> None:
    assert table().part("subscribe").target == "subscribe"
    assert table().has_part("publish")
    assert not table().has_part("unpublish")


class Renamed:
    def watch(self, reg: Any, listener: Any) -> None: ...
    def forget(self, reg: Any, listener: Any) -> None: ...
    def declare(self, reg: Any) -> None: ...
    async def shutdown(self) -> None: ...


def test_parts_may_have_other_names() -> None:
    found = table(
        Renamed,
        watch=Delegate("subscribe"),
        forget=Delegate("unsubscribe"),
        declare=Delegate("publish"),
        shutdown=Delegate("close"),
    )
    assert found.part("subscribe").target == "watch"
    assert set(found.by_target) == {"declare"}
    assert found.aliases == {
        "watch": "subscribe",
        "forget": "unsubscribe",
        "declare": "publish",
        "shutdown": "aclose",
    }
    assert "shutdown" not in found.by_name


def test_the_names_that_close_a_client_need_not_be_named() -> None:
    assert table(close=Delegate("close"), aclose=Delegate("close")).aliases == {}


class Odd:
    def subscribe(self, topic: str) -> None: ...


class Two:
    def subscribe(self, reg: Any, listener: Any) -> None: ...
    def watch(self, reg: Any, listener: Any) -> None: ...


class Clash:
    async def state(self) -> None: ...


@pytest.mark.parametrize(
    ("cls", "explicit", "complaint"),
    [
        ("Real", {}, "the real client must be a class, got 'Real'"),
        (Real, {"gte": Delegate()}, r"Real has no method 'gte' to delegate; it has .*get.*size"),
        (Real, {"kind": Delegate()}, "Real has no method 'kind' to delegate"),
        (object, {"get": Delegate()}, "object has no method 'get' .* no public methods"),
        (Real, {"start": Delegate()}, "'start' cannot be delegated: lifecycle and private"),
        (Real, {"_private": Delegate()}, "'_private' cannot be delegated"),
        (Real, {"rows": Delegate("invoke_oneway")}, "Real.rows is an async generator, which can"),
        (
            Odd,
            {},
            r"Odd.subscribe\(topic: 'str'\).* cannot subscribe: it must take",
        ),
        (Two, {"watch": Delegate("subscribe")}, "both 'watch' and 'subscribe' are to subscribe"),
        (Clash, {}, r"Clash.state clashes with 'state' of the client.*\.delegate\(\"state\""),
        (
            Real,
            {"size": Delegate(name="get")},
            "'size' and 'get' are both to be called 'get'",
        ),
    ],
)
def test_what_cannot_work_is_said_when_the_client_is_made(
    cls: Any, explicit: dict[str, Delegate], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        DelegateTable(cls, explicit, reserved=RESERVED)


def test_a_clash_is_solved_by_another_name() -> None:
    found = table(Clash, state=Delegate(name="get_state"))
    assert set(found.by_name) == {"get_state"}
    assert set(found.by_target) == {"state"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"kind": "call"}, "unknown delegate target 'call'; the targets are invoke, invoke_oneway"),
        ({"idempotent": "yes"}, "idempotent='yes' must be True or False"),
        ({"response_timeout": 0}, "response_timeout=0 must be a number of seconds, above 0"),
        ({"name": "_hidden"}, "name='_hidden' must be a public Python name"),
        ({"name": "not a name"}, "name='not a name' must be a public Python name"),
    ],
)
def test_a_wrong_delegate_is_named(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        Delegate(**arguments)


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "expected"),
    [
        ("get", ("k",), {}, (("k",), {})),
        ("get", ("k", 1), {}, (("k", 1), {})),
        ("get", (), {"key": "k", "default": 1}, (("k", 1), {})),
        ("get", ("k",), {"strict": True}, (("k",), {"strict": True})),
        ("of_class", ("k",), {}, (("k",), {})),
        ("static", (), {"key": "k"}, (("k",), {})),
    ],
)
def test_arguments_travel_by_position_where_they_can(
    name: str, args: Any, kwargs: Any, expected: Any
) -> None:
    assert table().by_name[name].bind(args, kwargs) == expected


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), (("k", 1, 2), {}), (("k",), {"key": "k"}), (("k",), {"x": 1})]
)
def test_arguments_that_do_not_fit_raise_type_error(args: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError, match=r"^get\(\): "):
        table().by_name["get"].bind(args, kwargs)


class Signatures:
    async def anything(self, *args: Any, **kwargs: Any) -> None: ...
    async def only_by_name(self, *, key: str) -> None: ...
    async def no_self(*args: Any) -> None: ...

    native = str.upper
    unknown = dict.update  # written in C, and tells no signature


def test_all_signatures_are_understood() -> None:
    found = table(Signatures, native=Delegate(), unknown=Delegate()).by_name
    assert found["anything"].bind((1, 2), {"x": 3}) == ((1, 2), {"x": 3})
    assert found["only_by_name"].bind((), {"key": "k"}) == ((), {"key": "k"})
    with pytest.raises(TypeError):
        found["only_by_name"].bind((), {})
    assert found["no_self"].bind((1,), {}) == ((1,), {})
    assert found["native"].bind((), {}) == ((), {})
    assert found["unknown"].bind((1,), {"x": 2}) == ((1,), {"x": 2})


async def test_a_generated_function_looks_like_the_real_method() -> None:
    calls: list[Any] = []

    async def call(owner: Any, method: Any, args: Any, kwargs: Any) -> str:
        calls.append((owner, method.target, args, kwargs))
        return "result"

    function = delegate_function(table().by_name["get"], call)
    assert function.__name__ == "get"
    assert function.__doc__ == "Return a value."
    assert list(inspect.signature(function).parameters) == ["self", "key", "default", "strict"]
    assert await function("owner", "k", strict=True) == "result"
    assert calls == [("owner", "get", ("k",), {"strict": True})]


# --------------------------------------------------------- names on the wire


class SnakeCase:
    async def get_data(self) -> None: ...

    async def get_data_2(self) -> None: ...

    async def getNode(self) -> None: ...  # noqa: N802

    async def close_it_(self) -> None: ...

    def publish(self, reg: Any) -> None: ...


def test_methods_have_their_own_names_on_the_wire() -> None:
    found = DelegateTable(SnakeCase, {})
    assert set(found.by_wire_name) == set(found.by_target)


def test_methods_can_have_javascripts_names_on_the_wire() -> None:
    found = DelegateTable(SnakeCase, {}, camel_case=True)
    assert {method.target: name for name, method in found.by_wire_name.items()} == {
        "get_data": "getData",
        "get_data_2": "getData2",
        "getNode": "getNode",
        "close_it_": "closeIt_",
        "publish": "publish",
    }
    assert set(found.by_name) == {"get_data", "get_data_2", "getNode", "close_it_"}


def test_two_methods_cannot_have_one_name_on_the_wire() -> None:
    class Both:
        async def get_data(self) -> None: ...

        async def getData(self) -> None: ...  # noqa: N802

    with pytest.raises(ConfigurationError, match="are both 'getData' on the wire, with camel_case"):
        DelegateTable(Both, {}, camel_case=True)
