"""What a stub calls the things that it speaks of."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType

from cluster_client.stubs.loading import StubError

__all__ = ["Names", "bound_by"]


class Names:
    """The names at the top level of a stub, and the imports that it still lacks.

    Args:
        module: The module that the stub is for.
        tree: The stub.
    """

    def __init__(self, module: ModuleType, tree: ast.Module) -> None:
        self._module = module
        self._bound = set(bound_by(tree.body))
        self._imported: dict[tuple[str, str], str] = {}

    def of(self, value: object, home: str, qualname: str) -> str:
        """Return an expression for a value, as a stub may write it.

        Args:
            value: What is to be named.
            home: The module that has it.
            qualname: Its name there.

        Raises:
            StubError: If it cannot be imported, or the stub has no place for it.
        """
        first, _, rest = qualname.partition(".")
        try:
            found = functools.reduce(getattr, qualname.split("."), sys.modules[home])
        except (AttributeError, KeyError):
            found = None
        if found is not value:
            raise StubError(
                f"{home}.{qualname} is made inside of a function or under another name: a stub "
                f"cannot name it; move it to the top level of its module"
            )
        outer = getattr(sys.modules[home], first)
        name = first
        if first not in self._bound or getattr(self._module, first, None) is not outer:
            if home == self._module.__name__:
                raise StubError(
                    f"stubgen leaves out {first}: write it as a class statement at the top level "
                    f"of {home}"
                )
            name = self._import(home, first)
        return f"{name}.{rest}" if rest else name

    def _import(self, home: str, name: str) -> str:
        alias = self._imported.get((home, name), name)
        while (home, name) not in self._imported and alias in self._bound:
            alias = f"_{alias}"
        self._imported[home, name] = alias
        self._bound.add(alias)
        return alias

    def missing(self) -> dict[str, list[str]]:
        """Return the imports that `of` has found to lack, by module."""
        imports: dict[str, list[str]] = {}
        for (home, name), alias in self._imported.items():
            imports.setdefault(home, []).append(name if alias == name else f"{name} as {alias}")
        return imports


def bound_by(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements define in their own scope."""
    for statement in body:
        match statement:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.AsyncFunctionDef(name=name):
                yield name
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                yield from (alias.asname or alias.name.partition(".")[0] for alias in aliases)
            case _:
                for node in ast.walk(statement):
                    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                        yield node.id
