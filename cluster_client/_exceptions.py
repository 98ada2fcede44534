"""Exceptions of the real client on their way through the codec (SPEC 4.3)."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar, cast

from cluster_client.errors import (
    AuthenticationError,
    ConfigurationError,
    EncodeError,
    IdentityError,
    RefusedError,
    RemoteInvokeError,
)
from cluster_client.limits import DEFAULTS
from cluster_protocol import Failure
from cluster_protocol.codecs import Codec

__all__ = ["Failure", "encode_failure", "from_failure", "register_exception", "to_failure"]

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
_classes: Final[dict[tuple[str, str], type[Exception]]] = {
    (cls.__module__, cls.__name__): cls for cls in _BUILTINS
}

_LARGEST_PART: Final = 1 << 20
_LONGEST_TEXT: Final = 1 << 16

T = TypeVar("T")
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
    other = _classes.setdefault((cls.__module__, cls.__name__), cls)
    if other is not cls:
        raise ConfigurationError(
            f"another exception is registered as {cls.__module__}.{cls.__name__} already: "
            f"{other.__qualname__}"
        )
    return cls


for _own in (AuthenticationError, EncodeError, IdentityError, RefusedError):
    register_exception(_own)


def to_failure(exc: BaseException, codec: Codec) -> Failure:
    """Describe an exception, leaving out what *codec* cannot carry or what is very large.

    Never fails, whatever the exception's own methods do.
    """
    cls = type(exc)
    code = _attempt(lambda: getattr(exc, "code", None), None)
    args = _attempt(lambda: _arguments(exc), ())
    nothing: dict[str, object] = {}
    fields = _attempt(lambda: dict(vars(exc)), nothing)
    return Failure(
        name=_clean(cls.__name__),
        message=_attempt(lambda: _clean(str(exc)), "(its text could not be made)"),
        code=code if _carries(codec, code) else _clean(_attempt(lambda: repr(code), "?")),
        stack=_attempt(lambda: _clean("".join(traceback.format_exception(exc))), ""),
        args=args if _carries(codec, list(args)) else None,
        fields={
            name: value
            for name, value in fields.items()
            if isinstance(name, str) and not name.startswith("_") and _carries(codec, value)
        },
        module=_clean(cls.__module__),
    )


def encode_failure(
    exc: BaseException,
    codec: Codec,
    largest: int = DEFAULTS.encoded_size,
    *,
    for_node: bool = False,
) -> bytes:
    """Return the codec's bytes of `to_failure`, of which there are no more than *largest*.

    Never fails. What would be larger is told without the values that the exception holds.

    With a codec that does not keep to its rules the bytes may be empty, and
    the receiver can't read them; but it gets an answer.
    """
    failure = to_failure(exc, codec)
    stub = Failure(failure.name, "(the error could not be encoded)")
    for attempt in (failure, failure.texts_only(), stub):
        value = attempt.to_node_value() if for_node else attempt.to_value()
        data = _attempt(partial(codec.encode, value), b"")
        if data and len(data) <= largest:
            return data
    return b""


def from_failure(failure: Failure) -> Exception:
    """Make the exception again that *failure* describes. Never fails."""
    cls = _classes.get((failure.module, failure.name))
    exc = None if cls is None else _attempt(lambda: _rebuild(cls, failure), None)
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


def _rebuild(cls: type[Exception], failure: Failure) -> Exception:
    """Make an exception of a class.

    Raises:
        Exception: If what arrived does not suit the class.
    """
    args: tuple[Any, ...] = (failure.message,) if failure.args is None else failure.args
    # A builtin keeps its args in C, and some read them only in __init__.
    is_builtin = cls in _BUILTINS
    exc = cls(*args) if is_builtin else cls.__new__(cls, *args)
    if not is_builtin:
        exc.args = args
    for name, value in failure.fields.items():
        # A peer must not replace `add_note`, say, nor make `__notes__`; and what a builtin has of
        # its own comes of its args.
        if not (name.startswith("_") or hasattr(cls if is_builtin else BaseException, name)):
            setattr(exc, name, value)
    _check_text(exc)
    return exc


def _check_text(exc: Exception) -> None:
    """Check that an exception can be shown, lest its catcher fail when it logs it.

    Raises:
        Exception: If it cannot.
    """
    if isinstance(exc, (UnicodeDecodeError, UnicodeEncodeError, UnicodeTranslateError)):
        # Python reads beyond the object where these are wrong: its `str` would kill the process.
        size = len(exc.object or "")  # a class of users' has none, made without its `__init__`
        if not 0 <= exc.start <= exc.end <= size:
            raise ValueError(f"places {exc.start} to {exc.end} of {size}")
    for show in (str, repr):
        show(exc)


def _arguments(exc: BaseException) -> tuple[Any, ...]:
    if isinstance(exc, OSError):
        # It keeps its file names outside of its args; pickling asks for all of them, too.
        return cast("tuple[Any, ...]", exc.__reduce__()[1])
    return exc.args


def _carries(codec: Codec, value: object) -> bool:
    return _attempt(lambda: len(codec.encode(value)) <= _LARGEST_PART, False)


def _clean(text: str) -> str:
    """Make a text that every codec carries, of a size that does no harm."""
    return text[:_LONGEST_TEXT].encode("utf-8", "backslashreplace").decode()


def _attempt(function: Callable[[], T], default: T) -> T:
    """Call what runs code of users' exceptions and codecs, which may do anything."""
    try:
        return function()
    except KeyboardInterrupt:
        raise
    except BaseException:
        return default
