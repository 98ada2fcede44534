"""Terminal 1: the process that opens the database, for itself and for the others.

    python examples/leader.py

It shows each change of a row, whoever made it. Ctrl-C closes the database.
"""

from __future__ import annotations

import os
from pathlib import Path

from sharing import OMEGA, run, shared_database


async def main(port: int, file: Path) -> None:
    """Lead until cancelled."""
    async with shared_database(port, file, is_leader=True) as database:
        print(f"process {os.getpid()} leads on port {port} and has {file} open")
        print("start follower.py in another terminal; Ctrl-C stops this one")
        async with database.subscription({"code_point": OMEGA}) as rows:
            async for row in rows:
                print(f"{row['character']} {row['name']}: {row['votes']} votes")


if __name__ == "__main__":
    run(main, description=__doc__)
