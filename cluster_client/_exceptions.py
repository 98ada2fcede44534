"""Exceptions of the real client on their way through the codec (SPEC 4.3)."""

from __future__ import annotations

import traceback
from typing import Any, Final, TypeVar, cast

from cluster_client.errors import ConfigurationError, EncodeError, RefusedError, RemoteInvokeError
from cluster_protocol import Failure, UnencodableValueError
from cluster_protocol.codecs import Codec

__all__ = ["Failure", "from_failure", "register_exception", "to_failure"]

# By name: a peer may only choose among these. No StopIteration kinds, which mean
# something to whoever awaits, and nothing that is not an `Exception`.
_BUILTINS: Final[tuple[type[Exception], ...]] = (
    *(ArithmeticError, AssertionError, AttributeError, BlockingIOError, BrokenPipeError),
    *(BufferError, ConnectionAbortedError, ConnectionError, ConnectionRefusedError),
    *(ConnectionResetError, EOFError, Exception, FileExistsError, FileNotFoundError),
    *(FloatingPointError, ImportError, IndexError, InterruptedError, IsADirectoryError, KeyError),
    *(LookupError, MemoryError, ModuleNotFoundError, NameError, NotADirectoryError),
    *(NotImplementedError, OSError, OverflowError, PermissionError, ProcessLookupError),
    *(RecursionError, ReferenceError, RuntimeError, TimeoutError, TypeError, UnicodeDecodeError),
    *(UnicodeEncodeError, UnicodeError, UnicodeTranslateError, ValueError, ZeroDivisionError),
)
_classes: Final[dict[str, type[Exception]]] = {cls.__name__: cls for cls in _BUILTINS}

ExceptionT = TypeVar("ExceptionT", bound=type[Exception])


def register_exception(cls: ExceptionT) -> ExceptionT:
    """Let a class of exceptions arrive as itself; usable as a decorator.

    To be called in every process. An arriving exception is made without its
    ``__init__``: ``args`` and attributes are set as they were.

    Raises:
        ConfigurationError: If *cls* is no exception class, or its name is
            taken by another class.
    """
    if not (isinstance(cls, type) and issubclass(cls, Exception)):
        raise ConfigurationError(f"{cls!r} is not a subclass of Exception")
    if issubclass(cls, (StopIteration, StopAsyncIteration)):
        raise ConfigurationError(f"{cls.__qualname__} would end whatever iterates at the caller")
    other = _classes.setdefault(cls.__name__, cls)
    if other is not cls:
        raise ConfigurationError(
            f"an exception of the name {cls.__name__!r} is registered already: "
            f"{other.__module__}.{other.__qualname__}"
        )
    return cls


for _own in (EncodeError, RefusedError):
    register_exception(_own)


def to_failure(exc: BaseException, codec: Codec) -> Failure:
    """Describe an exception, leaving out what *codec* cannot carry."""
    # An OSError keeps its file names outside of its args; pickling asks for all of them, too.
    args: tuple[Any, ...] = exc.args
    if isinstance(exc, OSError):
        args = cast("tuple[Any, ...]", exc.__reduce__()[1])
    fields = {name: value for name, value in vars(exc).items() if _is_field(codec, name, value)}
    code = getattr(exc, "code", None)
    return Failure(
        name=type(exc).__name__,
        message=_text(exc),
        code=code if _carries(codec, code) else repr(code),
        stack="".join(traceback.format_exception(exc)),
        args=args if _carries(codec, list(args)) else None,
        fields=fields,
    )


def from_failure(failure: Failure) -> Exception:
    """Make the exception again that *failure* describes."""
    cls = _classes.get(failure.name)
    exc = None if cls is None else _rebuild(cls, failure)
    if exc is None:
        exc = RemoteInvokeError(
            failure.name,
            failure.message,
            code=failure.code,
            remote_stack=failure.stack,
            fields=failure.fields,
        )
    if failure.stack:
        exc.add_note(f"Raised in the leader:\n{failure.stack.rstrip()}")
    return exc


def _rebuild(cls: type[Exception], failure: Failure) -> Exception | None:
    args: tuple[Any, ...] = (failure.message,) if failure.args is None else failure.args
    try:
        # A builtin keeps its args in C, and some read them only in __init__.
        exc = cls(*args) if cls in _BUILTINS else cls.__new__(cls, *args)
        if cls not in _BUILTINS:
            exc.args = args
        for name, value in failure.fields.items():
            setattr(exc, name, value)
    except Exception:
        return None
    return exc


def _is_field(codec: Codec, name: str, value: object) -> bool:
    return not name.startswith("_") and _carries(codec, value)


def _carries(codec: Codec, value: object) -> bool:
    try:
        codec.encode(value)
    except UnencodableValueError:
        return False
    return True


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:
        return f"<{type(exc).__name__} whose text could not be made>"
