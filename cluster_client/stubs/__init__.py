"""Type stubs for modules of facades, so that checkers and editors know the generated delegates.

`loading` imports a module and finds its facades, `names` says what a stub calls them and
imports for that, `writing` makes the stub's text, and `command` is the command line.
"""

from __future__ import annotations

__all__: list[str] = []
