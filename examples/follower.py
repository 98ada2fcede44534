"""Terminal 2, and 3, and 4: processes that use the leader's database, and open none.

    python examples/follower.py

It votes every second and shows each change of the row. Stop the leader and start it
again: the follower goes on, its subscription included.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio

from cluster_client import LeaderUnavailableError
from sharing import OMEGA, run, shared_database


def show(row: dict[str, Any]) -> None:
    """Print a row that has come by subscription."""
    print(f"{row['character']} {row['name']}: {row['votes']} votes")


async def main(port: int, file: Path) -> None:
    """Follow until cancelled."""
    async with shared_database(port, file, is_leader=False) as database:
        print(f"process {os.getpid()} follows process {await database.pid()} on port {port}")
        for row in await database.find("greek capital", limit=3):
            print(f"found {row['character']} {row['name']}")
        await database.subscribe({"code_point": OMEGA}, show)
        while True:
            try:
                # With an id of its own a vote can be sent twice and still counts once.
                votes = await database.vote_once(uuid4().hex, OMEGA)
                print(f"voted, now {votes}")
            except LeaderUnavailableError as error:
                print(f"{error}; trying again")
            await anyio.sleep(1)


if __name__ == "__main__":
    run(main, description=__doc__)
