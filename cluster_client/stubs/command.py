"""``cluster-client stubs``."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Final

import typer

from cluster_client.stubs.loading import StubError, load
from cluster_client.stubs.writing import stub_text

__all__ = ["stubs"]

_DIFFERENT: Final = 1
_FAILED: Final = 2
_STANDARD_OUTPUT: Final = "-"


def stubs(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE[:CLASS]",
            help="The module, as 'import' takes it; with a class, the module that defines it.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            help="Where to write; - is standard output.", show_default="beside the module"
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; show what differs, and exit with 1 if so."),
    ] = False,
) -> None:
    """Write a type stub for a module of facades, with their generated delegates.

    Type checkers and editors then know the delegates and their types, and report
    unknown ones. They read the stub in place of the module, and check the module
    itself no longer: let facades live in a module of their own, or type their
    delegates in the source, with `delegated`.
    """
    try:
        source = load(target)
        text = stub_text(source)
        path = source.path.with_suffix(".pyi") if output is None else Path(output)
        if check:
            _check(path, text, target)
        elif output == _STANDARD_OUTPUT:
            typer.echo(text, nl=False)
        else:
            path.write_text(text, encoding="utf-8")
            typer.echo(f"written: {path}")
    except (StubError, OSError, UnicodeDecodeError) as exc:
        typer.echo(f"cluster-client stubs: {exc}", err=True)
        raise typer.Exit(_FAILED) from None


def _check(path: Path, text: str, target: str) -> None:
    found = path.read_text(encoding="utf-8") if path.exists() else ""
    if found == text:
        return
    difference = difflib.unified_diff(
        found.splitlines(keepends=True),
        text.splitlines(keepends=True),
        fromfile=str(path),
        tofile=f"{path} (as it should be)",
    )
    typer.echo("".join(difference), nl=False)
    typer.echo(f"{path} is not up to date: cluster-client stubs {target}", err=True)
    raise typer.Exit(_DIFFERENT)
