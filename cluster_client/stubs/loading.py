"""A user's module and the facades in it."""

from __future__ import annotations

import importlib
import sys
import traceback
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeGuard

import cluster_client
from cluster_client import APIClientBase

__all__ = ["FacadeModule", "StubError", "load"]

_OURS: Final = Path(cluster_client.__file__).parent


class StubError(Exception):
    """Why there is no stub; one line for the user."""


@dataclass(frozen=True)
class FacadeModule:
    """A module with facades.

    Attributes:
        module: Imported.
        path: Its source.
        facades: Its facades, in the order of the source.
    """

    module: ModuleType
    path: Path
    facades: tuple[type[APIClientBase[Any]], ...]


def load(target: str) -> FacadeModule:
    """Import a module, and find its facades.

    Args:
        target: ``module``, or ``module:Facade`` for the module that defines the facade.

    Raises:
        StubError: If it cannot be imported, or has no facade.
    """
    name, _, class_name = target.partition(":")
    module = _imported(name)
    if class_name:
        facade = getattr(module, class_name, None)
        if not _is_facade(facade):
            known = [attribute for attribute, value in vars(module).items() if _is_facade(value)]
            raise StubError(
                f"{name} has no facade {class_name!r}; it has {', '.join(known) or 'none'}"
            )
        module = sys.modules[facade.__module__]
    facades = tuple(
        value
        for attribute, value in vars(module).items()
        if _is_facade(value)
        and (value.__module__, value.__qualname__) == (module.__name__, attribute)
    )
    if not facades:
        raise StubError(
            f"{module.__name__} defines no facade: no subclass of APIClientBase with a data_client "
            f"at its top level"
        )
    if module.__file__ is None or not module.__file__.endswith(".py"):
        raise StubError(f"{module.__name__} is no Python source file: {module.__file__}")
    return FacadeModule(module, Path(module.__file__), facades)


def _imported(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")) or name.endswith(".py"):
        raise StubError(
            f"{name!r} is no module's name; give it as 'import' takes it: package.module"
        )
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python -m` has it
    try:
        with redirect_stdout(sys.stderr):  # ours may be the stub
            return importlib.import_module(name)
    except (Exception, SystemExit) as exc:
        if isinstance(exc, ModuleNotFoundError) and f"{name}.".startswith(f"{exc.name}."):
            raise StubError(
                f"there is no module {exc.name!r}; run this where 'python -m {name}' would find it"
            ) from None
        raise StubError(f"importing {name} failed: {_in_one_line(exc)}") from None


def _is_facade(value: object) -> TypeGuard[type[APIClientBase[Any]]]:
    return (
        isinstance(value, type)
        and issubclass(value, APIClientBase)
        and hasattr(value, "data_client")
    )


def _in_one_line(exc: BaseException) -> str:
    text = " ".join(f"{type(exc).__name__}: {exc}".split())
    if isinstance(exc, SyntaxError):
        return text  # which tells the place
    frames = traceback.extract_tb(exc.__traceback__)
    theirs = [frame for frame in frames if not Path(frame.filename).is_relative_to(_OURS)]
    return f"{text} ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})"
