"""Exceptions on their way: the same class where that is safe, else everything it told."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its exceptions are what a user's code may raise
from typing import Any

import pytest

from cluster_client import (
    ConfigurationError,
    EncodeError,
    RefusedError,
    RemoteInvokeError,
    register_exception,
)
from cluster_client._exceptions import encode_failure, from_failure, to_failure
from cluster_protocol import Failure
from cluster_protocol.codecs import MsgpackCodec

CODEC = MsgpackCodec()


def travel(exc: BaseException) -> Exception:
    value = CODEC.decode(CODEC.encode(to_failure(exc, CODEC).to_value()))
    return from_failure(Failure.from_value(value))


@register_exception
class QuotaError(Exception):
    """A registered one, whose __init__ takes other arguments than it passes on."""

    def __init__(self, user: str, *, limit: int) -> None:
        super().__init__(f"{user} has used up {limit}")
        self.user = user
        self.limit = limit
        self.lock = object()  # no codec carries it


class UnregisteredError(Exception):
    code = "E_CUSTOM"


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("bad", 3),
        KeyError("k"),
        FileNotFoundError(2, "No such file", "/x"),
        TimeoutError("too long"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        ZeroDivisionError(),
        EncodeError("argument"),
        RefusedError("get", "too many calls"),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_builtins_and_ours_arrive_as_themselves(exc: Exception) -> None:
    arrived = travel(exc)
    assert type(arrived) is type(exc)
    assert arrived.args == exc.args
    assert str(arrived) == str(exc)


def test_the_number_of_an_os_error_arrives() -> None:
    arrived = travel(FileNotFoundError(2, "No such file", "/x"))
    assert isinstance(arrived, OSError)
    assert (arrived.errno, arrived.filename) == (2, "/x")


def test_a_registered_class_arrives_with_its_attributes() -> None:
    arrived = travel(QuotaError("ann", limit=3))
    assert isinstance(arrived, QuotaError)
    assert (arrived.user, arrived.limit) == ("ann", 3)
    assert str(arrived) == "ann has used up 3"
    assert not hasattr(arrived, "lock")


def test_any_other_class_arrives_as_remote_invoke_error() -> None:
    arrived = travel(UnregisteredError("text"))
    assert isinstance(arrived, RemoteInvokeError)
    assert (arrived.remote_name, arrived.message, arrived.code) == (
        "UnregisteredError",
        "text",
        "E_CUSTOM",
    )


@pytest.mark.parametrize(
    "exc",
    [StopIteration(3), StopAsyncIteration(), GeneratorExit(), SystemExit(1), KeyboardInterrupt()],
    ids=lambda exc: type(exc).__name__,
)
def test_what_would_mean_something_at_the_caller_arrives_wrapped(exc: BaseException) -> None:
    arrived = travel(exc)
    assert isinstance(arrived, RemoteInvokeError)
    assert arrived.remote_name == type(exc).__name__


def test_a_cancellation_never_travels_as_one() -> None:
    assert isinstance(travel(asyncio.CancelledError()), RemoteInvokeError)


def test_the_remote_traceback_is_a_note() -> None:
    try:
        raise ValueError("bad")
    except ValueError as exc:
        arrived = travel(exc)
    assert arrived.__notes__[0].startswith("Raised in the leader:\nTraceback")
    assert 'raise ValueError("bad")' in arrived.__notes__[0]


def test_arguments_that_no_codec_carries_leave_the_text() -> None:
    arrived = travel(ValueError("lock", object()))
    assert type(arrived) is ValueError
    assert arrived.args[0].startswith("('lock', <object")


def test_a_code_that_no_codec_carries_is_told_as_text() -> None:
    class CodedError(Exception):
        code = object()

    arrived = travel(CodedError())
    assert isinstance(arrived, RemoteInvokeError)
    assert str(arrived.code).startswith("<object")


def test_a_broken_str_does_not_hide_the_error() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    arrived = travel(BrokenError())
    assert isinstance(arrived, RemoteInvokeError)
    assert arrived.message == "(its text could not be made)"


def test_a_peer_of_another_version_cannot_make_us_fail() -> None:
    arrived = from_failure(
        Failure("UnicodeDecodeError", "text", args=("one argument",), module="builtins")
    )
    assert isinstance(arrived, RemoteInvokeError)
    assert arrived.remote_name == "UnicodeDecodeError"


@pytest.mark.parametrize("name", ["eval", "object", "SystemExit", "os.system", "NotThere"])
def test_a_peer_cannot_choose_a_class(name: str) -> None:
    for module in ("", "builtins", "os", "cluster_client.errors"):
        assert isinstance(from_failure(Failure(name, "text", module=module)), RemoteInvokeError)


@pytest.mark.parametrize(
    ("cls", "complaint"),
    [
        (3, "3 is not a subclass of Exception"),
        (KeyboardInterrupt, "is not a subclass of Exception"),
        (type("Stop", (StopIteration,), {}), "would end whatever iterates"),
        (type("QuotaError", (Exception,), {}), r"is registered as .*\.QuotaError already"),
    ],
)
def test_what_cannot_be_registered_is_said(cls: Any, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        register_exception(cls)


def test_a_class_of_the_name_of_a_builtin_is_not_taken_for_it() -> None:
    class ConnectionError(Exception):  # noqa: A001 - as redis has it
        pass

    arrived = travel(ConnectionError("gone"))
    assert isinstance(arrived, RemoteInvokeError)
    assert arrived.remote_name == "ConnectionError"


def test_a_peer_cannot_replace_an_exceptions_methods() -> None:
    fields = {"add_note": 1, "with_traceback": 2, "detail": 3}
    failure = Failure("ValueError", "x", stack="…", fields=fields, module="builtins")
    arrived: Any = from_failure(failure)
    assert (type(arrived), arrived.detail) == (ValueError, 3)


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("lone \udcff surrogate"),
        ValueError(b"x" * (70 << 20)),
        type("Näme", (Exception,), {})("x" * (10 << 20)),
    ],
    ids=["surrogate", "large", "name"],
)
def test_whatever_an_exception_holds_it_arrives(exc: Exception) -> None:
    data = encode_failure(exc, CODEC)
    assert len(data) < 1 << 20
    assert isinstance(from_failure(Failure.from_value(CODEC.decode(data))), Exception)


def test_with_a_broken_codec_there_is_still_an_answer() -> None:
    class Broken(MsgpackCodec):
        def encode(self, value: object, /) -> bytes:
            raise ZeroDivisionError

    assert encode_failure(ValueError("x"), Broken()) == b""


def test_registering_twice_is_the_same_as_once() -> None:
    assert register_exception(QuotaError) is QuotaError


_PLACES = [(-(2**30), 1 - 2**30), (-1, 0), (2, 1), (2, 3), (2**62, 2**62 + 1)]


@pytest.mark.parametrize(("start", "end"), _PLACES)
@pytest.mark.parametrize("decoding", [True, False])
def test_an_error_whose_text_python_cannot_make_arrives_wrapped(
    decoding: bool, start: int, end: int
) -> None:
    """Python would read memory that is not the object's, when somebody logs the error."""
    name, given = ("UnicodeDecodeError", b"xy") if decoding else ("UnicodeEncodeError", "xy")
    failure = Failure(name, "m", module="builtins", args=("utf-8", given, start, end, "why"))
    arrived = from_failure(failure)
    assert isinstance(arrived, RemoteInvokeError)
    assert str(arrived)


@pytest.mark.parametrize("name", ["start", "end", "object", "reason", "encoding"])
def test_a_peer_cannot_replace_what_a_builtin_keeps_by_itself(name: str) -> None:
    args = ("utf-8", b"xy", 0, 1, "why")
    failure = Failure("UnicodeDecodeError", "", module="builtins", args=args, fields={name: -9})
    arrived = from_failure(failure)
    assert (type(arrived), arrived.args) == (UnicodeDecodeError, args)
    assert str(arrived) == "'utf-8' codec can't decode byte 0x78 in position 0: why"


def test_a_registered_class_whose_text_cannot_be_made_arrives_wrapped() -> None:
    """Its attributes are missing, that its text is made of."""
    failure = Failure("RefusedError", "'m' was refused", module="cluster_client.errors")
    arrived = from_failure(failure)
    assert isinstance(arrived, RemoteInvokeError)
    assert "'m' was refused" in str(arrived)


@pytest.mark.parametrize("notes", [5, ["a", 5], None])
def test_a_peer_cannot_replace_an_exceptions_notes(notes: object) -> None:
    fields = {"__notes__": notes}
    failure = Failure("ValueError", "m", stack="there", module="builtins", fields=fields)
    arrived = from_failure(failure)
    assert type(arrived) is ValueError
    assert arrived.__notes__ == ["Raised in the leader:\nthere"]
