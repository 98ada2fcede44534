"""A facade: an API of one's own over the shared database, with a cache in front of `get`.

    python examples/api_client.py

Start it in several terminals: the first one leads; stop it, and another one does.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from cluster_client import APIClientBase, Delegate, cluster
from database_client import DatabaseClient, Row
from sharing import OMEGA, run

REPEATABLE = Delegate(idempotent=True)
"""A read can be sent again when the leader dies; so can a vote that has an id."""


class CharactersAPI(APIClientBase[DatabaseClient]):
    """Characters. A row is asked for once; from then on a subscription keeps it up to date.

    `find`, `vote` and `vote_once` are not written here: they are the real client's.
    """

    data_client = DatabaseClient
    cluster_options = {"name": "characters"}
    delegates = {"get": REPEATABLE, "find": REPEATABLE, "vote_once": REPEATABLE, "vote": "invoke"}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._followed: set[int] = set()
        self.hits = 0
        self.changes = 0

    async def get(self, code_point: int) -> Row | None:
        """Return a character's row; for one that was asked for before nothing is sent.

        It is up to date but for the moment that a change takes to get here.
        """
        reg: Row = {"code_point": code_point}
        row: Row | None = self.last(reg, None)  # the cache: what the subscription brought last
        if row is not None:
            self.hits += 1
            return row
        row = await self._client.get(code_point)
        if row is not None and code_point not in self._followed:
            await self.subscribe(reg, self._on_change)
            self._followed.add(code_point)
        return row

    def _on_change(self, row: Row) -> None:
        self.changes += 1  # or drop what was computed from the row


async def main(port: int, file: Path) -> None:
    """Read, vote, and show each change until cancelled."""
    async with CharactersAPI(file, cluster=partial(cluster, port=port)) as api:
        print(f"this process {'leads' if api.is_leader else 'follows'} on port {port}")
        await api.get(OMEGA)  # asks the leader
        async with api.subscription({"code_point": OMEGA}) as rows:
            await api.vote(OMEGA)
            async for _ in rows:
                row = await api.get(OMEGA)  # from the cache
                assert row is not None  # noqa: S101 - it has just changed
                print(f"{row['character']} {row['votes']} votes; read from cache: {api.hits}")


if __name__ == "__main__":
    run(main, description=__doc__)
