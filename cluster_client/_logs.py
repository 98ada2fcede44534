"""Logging that cannot fail: a log line must not end anybody's leader."""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Final

_MAX_DESCRIPTION: Final = 500


class Log:
    """A structlog logger whose methods never raise.

    What is logged comes from peers and from users' code, and a logger that
    prints can fail over a lone surrogate. Such a line goes to the standard
    library's logging instead, which handles its own errors.

    Args:
        logger: A structlog logger, or anything with ``bind`` and the methods.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def bind(self, **values: Any) -> Log:
        return Log(self._logger.bind(**values))

    def info(self, event: str, **values: Any) -> None:
        self._write("info", event, values)

    def warning(self, event: str, **values: Any) -> None:
        self._write("warning", event, values)

    def error(self, event: str, **values: Any) -> None:
        self._write("error", event, values)

    def exception(self, event: str, **values: Any) -> None:
        """Log an error with the traceback of the exception being handled."""
        self._write("exception", event, values)

    def _write(self, method: str, event: str, values: dict[str, Any]) -> None:
        try:
            getattr(self._logger, method)(event, **values)
        except Exception as exc:
            fallback = logging.getLogger("cluster_client")
            with contextlib.suppress(Exception):  # where stderr is closed, it fails as well
                fallback.warning("%s could not be logged: %s", event, type(exc).__name__)


def describe(exc: BaseException) -> str:
    """Return class and text of an exception, whatever its ``__repr__`` does."""
    try:
        text = repr(exc)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return f"{type(exc).__name__}(…)"
    return text if len(text) <= _MAX_DESCRIPTION else text[:_MAX_DESCRIPTION] + "…"
