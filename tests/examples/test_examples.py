"""Each example is run the way a reader runs it: as a process, ended by Ctrl-C."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

from api_client import CharactersAPI
from cluster_client import cluster
from sharing import OMEGA
from support.programs import Program, program
from support.zookeeper import require_zookeeper

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(
    name: str, *, port: int, file: Path, backend: str
) -> AbstractAsyncContextManager[Program]:
    """Run an example for the time of a block."""
    arguments = ["--port", port, "--file", file, "--backend", backend]
    return program(EXAMPLES / name, *arguments)


async def test_leader_and_follower_share_one_database(
    port: int, tmp_path: Path, anyio_backend_name: str
) -> None:
    start = partial(example, port=port, file=tmp_path / "c.db", backend=anyio_backend_name)
    async with start("leader.py") as leader, start("follower.py") as follower:
        assert int((await leader.line(r"process (\d+) leads"))[1]) == leader.pid
        found = await follower.line(r"process (\d+) follows process (\d+)")
        assert [int(pid) for pid in found.groups()] == [follower.pid, leader.pid]
        await follower.line("found Ͱ GREEK CAPITAL LETTER HETA")
        await follower.line("voted, now 1")
        await leader.line("Ω GREEK CAPITAL LETTER OMEGA: 1 votes")
        assert await follower.interrupt() == 0
        assert await leader.interrupt() == 0


async def test_a_follower_outlives_its_leader(
    port: int, tmp_path: Path, anyio_backend_name: str
) -> None:
    start = partial(example, port=port, file=tmp_path / "c.db", backend=anyio_backend_name)
    async with start("follower.py") as follower:
        for _ in range(2):
            async with start("leader.py") as leader:
                votes = int((await leader.line(r"OMEGA: (\d+) votes"))[1])
                await follower.line(f"voted, now {votes + 1}")
                await leader.line(f"OMEGA: {votes + 1} votes")
                assert await leader.interrupt() == 0
        assert await follower.interrupt() == 0


async def test_a_second_leader_says_why_it_cannot_be(
    port: int, tmp_path: Path, anyio_backend_name: str
) -> None:
    start = partial(example, port=port, file=tmp_path / "c.db", backend=anyio_backend_name)
    async with start("leader.py") as leader:
        await leader.line("leads")
        async with start("leader.py") as second:
            await second.line(f"port {port} of 127.0.0.1 is occupied: .* leads there")
            assert await second.end() == 1
        assert await leader.interrupt() == 0


async def test_facades_in_several_processes_see_each_others_votes(
    port: int, tmp_path: Path, anyio_backend_name: str
) -> None:
    start = partial(example, port=port, file=tmp_path / "c.db", backend=anyio_backend_name)
    async with start("api_client.py") as first:
        await first.line("this process leads")
        await first.line("Ω 1 votes; read from cache")
        async with start("api_client.py") as second:
            await second.line("this process follows")
            await second.line("Ω 2 votes")
            await first.line("Ω 2 votes")
            assert await first.interrupt() == 0
            async with start("api_client.py") as third:
                await third.line("this process follows")
                await third.line("Ω 3 votes")
                await second.line("Ω 3 votes")
                assert await third.interrupt() == 0
            assert await second.interrupt() == 0


async def test_the_cache_answers_and_is_kept_up_to_date(port: int, tmp_path: Path) -> None:
    async with CharactersAPI(tmp_path / "c.db", cluster=partial(cluster, port=port)) as api:
        first = await api.get(OMEGA)
        assert first is not None
        assert (first["votes"], api.hits) == (0, 0)
        async with api.subscription({"code_point": OMEGA}) as rows:
            assert await anext(rows) == first
            assert await api.get(OMEGA) == first
            assert api.hits == 1
            await api.vote(OMEGA)
            changed = await anext(rows)
            assert changed["votes"] == 1
            assert await api.get(OMEGA) == changed
            assert api.hits == 2


async def test_a_character_that_is_not_there_is_not_cached(port: int, tmp_path: Path) -> None:
    async with CharactersAPI(tmp_path / "c.db", cluster=partial(cluster, port=port)) as api:
        assert await api.get(0x10FFFF) is None
        assert await api.get(0x10FFFF) is None
        assert api.hits == 0


async def test_four_processes_share_a_zookeeper_session(port: int, anyio_backend_name: str) -> None:
    require_zookeeper()
    arguments = ["--port", port, "--backend", anyio_backend_name]
    async with program(EXAMPLES / "zookeeper_client.py", *arguments) as shown:
        await shown.line("four processes: .* leads")
        await shown.line("ZooKeeper knows 1 session of theirs")
        await shown.line("has been killed")
        await shown.line("their session is the same")
        await shown.line("the service was never gone")
        assert await shown.end() == 0
