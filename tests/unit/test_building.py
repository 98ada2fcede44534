"""Making clients and facades: what is wrong is said before anything is opened."""

from __future__ import annotations

from typing import Any

import pytest

from cluster_client import APIClientBase, Client, ConfigurationError, Delegate, cluster, delegated


class Closing:
    """A real client with a close of another name."""

    async def get(self) -> None: ...

    def shutdown(self) -> None: ...


class Real:
    """A real client."""

    async def get(self, key: str) -> str:
        """Return a value."""
        return key

    async def remove(self, key: str) -> None: ...

    def size(self) -> int:
        return 0


def test_the_class_gives_name_and_docstring() -> None:
    client = cluster(Real).create()
    assert type(client).__name__ == "RealClient"
    assert type(client).__doc__ == "A real client."
    assert isinstance(client, Client)
    assert "'Real' port=7777 new" in repr(client)


def test_only_a_class_can_be_shared() -> None:
    with pytest.raises(ConfigurationError, match="must be a class, got <"):
        cluster(Real())  # type: ignore[arg-type]


def test_options_are_checked_at_once() -> None:
    with pytest.raises(ConfigurationError, match="option port=0 must be"):
        cluster(Real, port=0)


def test_a_missing_method_is_named_when_the_client_is_made() -> None:
    with pytest.raises(ConfigurationError, match="Real has no method 'sise'"):
        cluster(Real).delegate("sise").create()


def test_delegates_are_methods_of_the_clients_class_alone() -> None:
    assert hasattr(type(cluster(Real).create()), "get")
    assert not hasattr(Client, "get")
    assert not hasattr(cluster(Real).create(), "size")
    assert hasattr(cluster(Real).delegate("size").create(), "size")


def test_an_override_takes_a_delegates_place() -> None:
    async def get(self: Any, key: str) -> str:
        return f"overridden {key} on {type(self).__name__}"

    client = cluster(Real).override("get", get).override("answer", 42).create()
    assert type(client).get is get  # type: ignore[attr-defined]
    assert client.answer == 42  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("name", ["_call", "publish", "state", "not a name"])
def test_the_clients_own_names_cannot_be_overridden(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{name}' cannot be overridden"):
        cluster(Real).override(name, 1)


def test_close_may_have_another_name() -> None:
    client = cluster(Closing).delegate("shutdown", "close").create()
    assert type(client).shutdown is Client.aclose  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="Closing has no method 'shutdwn'"):
        cluster(Closing).delegate("shutdwn", "close").create()
    with pytest.raises(ConfigurationError, match="both 'shutdown' and 'get' are to close"):
        cluster(Closing).delegate("shutdown", "close").delegate("get", "close").create()


def test_a_facade_is_checked_when_its_class_is_made() -> None:
    with pytest.raises(ConfigurationError, match="Real has no method 'gte'"):

        class Typo(APIClientBase[Real]):
            data_client = Real
            delegates = {"gte": "invoke"}

    with pytest.raises(ConfigurationError, match="unknown delegate target 'invok'"):

        class Target(APIClientBase[Real]):
            data_client = Real
            delegates = {"get": "invok"}

    with pytest.raises(ConfigurationError, match=r"Number.delegates\['get'\]=3 must be a kind"):

        class Number(APIClientBase[Real]):
            data_client = Real
            delegates = {"get": 3}  # type: ignore[dict-item]


def test_a_facade_needs_a_real_client() -> None:
    class Bare(APIClientBase[Real]):
        pass

    with pytest.raises(ConfigurationError, match="Bare has no data_client: set it to"):
        Bare()


def test_a_facades_options_are_checked_when_it_is_made() -> None:
    class Wrong(APIClientBase[Real]):
        data_client = Real
        cluster_options = {"port": "http"}

    with pytest.raises(ConfigurationError, match="option port='http' must be"):
        Wrong()


def test_a_facade_keeps_what_it_defines_and_generates_the_rest() -> None:
    class RealAPI(APIClientBase[Real]):
        data_client = Real
        delegates = {"size": Delegate(idempotent=True, name="length")}

        async def get(self, key: str) -> str:
            return f"own {key}"

    assert RealAPI.get.__qualname__.endswith("RealAPI.get")
    assert RealAPI.remove.__name__ == "remove"  # type: ignore[attr-defined]
    assert RealAPI.length.__name__ == "length"  # type: ignore[attr-defined]
    assert not hasattr(RealAPI, "size")


def test_a_facade_without_automatic_delegates_has_those_it_names() -> None:
    class Few(APIClientBase[Real]):
        data_client = Real
        cluster_options = {"auto_generate": False}
        delegates = {"get": "invoke"}

    assert hasattr(Few, "get")
    assert not hasattr(Few, "remove")


def test_a_typed_delegate_may_have_another_name_on_the_facade() -> None:
    class RealAPI(APIClientBase[Real]):
        data_client = Real
        get = delegated(Real.get, idempotent=True)
        length = delegated(Real.size)

    assert (RealAPI.length.__name__, RealAPI.get.__doc__) == ("length", "Return a value.")
    assert RealAPI.delegates["get"] == Delegate(idempotent=True)


def test_a_typed_delegate_must_be_a_method_of_the_real_class() -> None:
    class Other:
        async def get(self, key: str) -> str:
            return key

    with pytest.raises(
        ConfigurationError, match=r"WrongAPI.get delegates .*Other.get, which is not"
    ):

        class WrongAPI(APIClientBase[Real]):
            data_client = Real
            get = delegated(Other.get)

    with pytest.raises(ConfigurationError, match=r"delegated\('get'\) needs a method"):
        delegated("get")  # type: ignore[call-overload]


def test_a_typed_delegate_belongs_into_a_facade() -> None:
    class NoFacade:
        get = delegated(Real.get)

    with pytest.raises(ConfigurationError, match=r"delegated\(Real.get\) works only in .*NoFacade"):
        NoFacade().get  # noqa: B018


def test_a_framework_may_inject_the_factory() -> None:
    seen: list[dict[str, Any]] = []

    def factory(cls: type[Any], /, **options: Any) -> Any:
        seen.append(options)
        return cluster(cls, **{**options, "port": 7001})

    class RealAPI(APIClientBase[Real]):
        data_client = Real
        cluster_options = {"name": "registry", "port": 7777}
        delegates = {"size": "invoke"}

    api = RealAPI(cluster=factory)
    assert seen == [{"name": "registry", "port": 7777}]
    assert (api.state.value, api.is_leader, api.epoch, api.resent_calls) == ("new", False, None, 0)
