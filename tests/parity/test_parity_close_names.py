"""A close that has another name, as the original's suite has it."""

from __future__ import annotations

from cluster_client import APIClientBase, ClientState, ClusterFactory

Log = list[str]


class Destroyed:
    """A real client whose close has a name of its own."""

    def __init__(self, log: Log) -> None:
        self._log = log
        log.append("made")

    async def echo(self, value: str) -> str:
        return value

    def destroy(self) -> None:
        self._log.append("destroyed")


async def test_a_close_of_another_name_is_the_real_clients(factory: ClusterFactory) -> None:
    log: Log = []
    async with factory(Destroyed).delegate("destroy", "close").create(log) as client:
        assert log == ["made"]
        await client.destroy()
        assert client.state is ClientState.CLOSED
    assert log == ["made", "destroyed"]


class DestroyedAPI(APIClientBase[Destroyed]):
    data_client = Destroyed
    delegates = {"destroy": "close"}


async def test_a_facades_close_has_that_name_too(factory: ClusterFactory) -> None:
    log: Log = []
    async with DestroyedAPI(log, cluster=factory) as api:
        await api.destroy()
    assert log == ["made", "destroyed"]
