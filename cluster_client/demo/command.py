"""``cluster-client demo``."""

from __future__ import annotations

import enum
import importlib.util
from typing import Annotated

import typer
from rich.console import Console

from cluster_client.demo.run import run_demo


class Backend(enum.StrEnum):
    """Event loops to choose from."""

    ASYNCIO = "asyncio"
    TRIO = "trio"


def demo(
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Election port.", show_default="7777, or the next free one"
        ),
    ] = None,
    backend: Annotated[
        Backend, typer.Option(help="Event loop of all processes.")
    ] = Backend.ASYNCIO,
) -> None:
    """Watch four processes share one SQLite client, and survive the death of their leader."""
    if backend is Backend.TRIO and importlib.util.find_spec("trio") is None:
        raise typer.BadParameter("trio is not installed: pip install 'cluster-client[trio]'")
    worked = run_demo(port=port, backend=backend.value, console=Console(highlight=False))
    raise typer.Exit(0 if worked else 1)
