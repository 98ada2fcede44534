"""The command line; needs the extra ``cli``."""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["main"]

_EXTRA: Final = frozenset({"rich", "typer"})


def main() -> None:
    """Run ``cluster-client``."""
    try:
        import typer  # noqa: PLC0415 - optional dependency

        from cluster_client.demo.command import demo  # noqa: PLC0415 - needs it, too
        from cluster_client.stubs.command import stubs  # noqa: PLC0415 - needs it, too
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] not in _EXTRA:
            raise
        sys.exit(
            f"the command line needs {exc.name}, which is not installed: "
            f"pip install 'cluster-client[cli]'"
        )
    application = typer.Typer(
        help="Let all processes of a host share one client.",
        no_args_is_help=True,
        add_completion=False,
    )
    application.command()(demo)
    application.command()(stubs)
    application()


if __name__ == "__main__":
    main()
