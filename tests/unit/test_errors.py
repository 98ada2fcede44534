"""Errors: each says what was wrong, with which value, and what to do."""

from __future__ import annotations

import copy
import inspect
import pickle  # noqa: TID251 - as multiprocessing does

import pytest

from cluster_client import errors
from cluster_client.errors import (
    AuthenticationError,
    CallError,
    ClientClosedError,
    ClusterClientError,
    ConfigurationError,
    ElectionError,
    EncodeError,
    ForkedClientError,
    IdentityError,
    LeaderUnavailableError,
    LinkClosedError,
    LinkError,
    OutcomeUnknownError,
    PortOccupiedError,
    RefusedError,
    RemoteInvokeError,
    ResponseTimeoutError,
    StreamInterruptedError,
)

EXAMPLES = [
    (
        LeaderUnavailableError("registry", 7777, 30.04, "nothing listens there"),
        "no leader of 'registry' on port 7777 of 127.0.0.1 after 30.0 s: nothing listens there",
    ),
    (
        LeaderUnavailableError(
            "registry",
            7777,
            30,
            "the process there does not serve it",
            holder_pid=42,
            holder_channels=["config", "lock"],
        ),
        "no leader of 'registry' on port 7777 of 127.0.0.1 after 30.0 s: the process there "
        "does not serve it; process 42 holds it and serves 'config', 'lock': create 'registry' "
        "there, too, or give this client another port",
    ),
    (
        LeaderUnavailableError("registry", 7777, 0, "it is leaving", holder_pid=42),
        "no leader of 'registry' on port 7777 of 127.0.0.1 after 0.0 s: it is leaving; process 42 "
        "holds it and serves nothing: create 'registry' there, too, or give this client another "
        "port",
    ),
    (
        PortOccupiedError(7777, "an HTTP server, by the look of it"),
        "port 7777 of 127.0.0.1 is occupied: an HTTP server, by the look of it",
    ),
    (
        AuthenticationError("/run/app.sock", "leader and follower have different secrets"),
        "socket /run/app.sock: leader and follower have different secrets",
    ),
    (
        IdentityError("registry", "process 1 with the class A", "process 2 with the class B"),
        "'registry' is led by process 1 with the class A, and process 2 with the class B cannot "
        "follow it: give one of them another name",
    ),
    (LinkClosedError("the link is draining", sent=False), "the link is draining"),
    (
        ResponseTimeoutError("get_data", 3.0),
        "'get_data' was not answered within 3 s; raise response_timeout if it takes longer by "
        "nature",
    ),
    (RemoteInvokeError("NoNodeError", "no /k"), "NoNodeError: no /k"),
    (
        OutcomeUnknownError("set_data", "epoch"),
        "the leader was lost while 'set_data' was in flight, so nobody knows whether it was "
        "executed; if executing it twice does no harm, declare it idempotent",
    ),
    (
        StreamInterruptedError("history", "epoch", 12),
        "the leader was lost after 12 items of 'history'; a stream is not resumed: call the method "
        "again, from where it makes sense",
    ),
    (
        RefusedError("set_data", "leadership ends"),
        "'set_data' was refused: leadership ends",
    ),
]


@pytest.mark.parametrize(("error", "text"), EXAMPLES)
def test_an_error_speaks_in_whole_sentences(error: ClusterClientError, text: str) -> None:
    assert str(error) == text


def test_errors_carry_what_they_tell_as_data() -> None:
    unavailable = LeaderUnavailableError(
        "registry", 7777, 30, "reason", holder_pid=42, holder_channels=["config"]
    )
    assert (unavailable.channel, unavailable.port, unavailable.waited) == ("registry", 7777, 30)
    assert (unavailable.reason, unavailable.holder_pid) == ("reason", 42)
    assert unavailable.holder_channels == ("config",)
    occupied = PortOccupiedError(7777, "reason")
    assert (occupied.port, occupied.reason) == (7777, "reason")
    assert LinkClosedError("reason", sent=False).sent is False
    timeout = ResponseTimeoutError("get", 3)
    assert (timeout.method, timeout.timeout) == ("get", 3)
    unknown = OutcomeUnknownError("get", "epoch")
    assert (unknown.method, unknown.epoch) == ("get", "epoch")
    interrupted = StreamInterruptedError("get", "epoch", 3)
    assert (interrupted.method, interrupted.epoch, interrupted.received) == ("get", "epoch", 3)
    refused = RefusedError("get", "reason")
    assert (refused.method, refused.reason) == ("get", "reason")
    remote = RemoteInvokeError("A", "b", code=3, remote_stack="stack", fields={"path": "/k"})
    assert (remote.remote_name, remote.message, remote.code) == ("A", "b", 3)
    assert (remote.remote_stack, remote.fields) == ("stack", {"path": "/k"})


def test_there_is_one_tree() -> None:
    bases = {
        name: [base.__name__ for base in cls.__bases__]
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, Exception)
    }
    assert bases == {
        "ClusterClientError": ["Exception"],
        "ConfigurationError": ["ClusterClientError", "ValueError"],
        "ElectionError": ["ClusterClientError"],
        "LeaderUnavailableError": ["ElectionError"],
        "PortOccupiedError": ["ElectionError"],
        "AuthenticationError": ["ElectionError"],
        "IdentityError": ["ElectionError"],
        "LinkError": ["ClusterClientError"],
        "LinkClosedError": ["LinkError"],
        "ResponseTimeoutError": ["LinkError", "TimeoutError"],
        "CallError": ["ClusterClientError"],
        "RemoteInvokeError": ["CallError"],
        "OutcomeUnknownError": ["CallError"],
        "StreamInterruptedError": ["OutcomeUnknownError"],
        "RefusedError": ["CallError"],
        "EncodeError": ["CallError", "ValueError"],
        "ForkedClientError": ["CallError"],
        "ClientClosedError": ["ClusterClientError"],
    }


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    assert errors.__doc__ is not None
    for name in errors.__all__:
        assert f"─ {name} " in errors.__doc__ or f"{name}\n" in errors.__doc__, name


@pytest.mark.parametrize(
    "error",
    [
        *(error for error, _ in EXAMPLES),
        ConfigurationError("text"),
        ElectionError("text"),
        LinkError("text"),
        CallError("text"),
        EncodeError("text"),
        ForkedClientError("text"),
        ClientClosedError("text"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_being_copied_and_pickled(error: ClusterClientError) -> None:
    """As multiprocessing, concurrent.futures and test runners do with it."""
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)
