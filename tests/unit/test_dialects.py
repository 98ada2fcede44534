"""How calls and errors are written for our peers and for Node's."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cluster_client import EncodeError
from cluster_client._clock import now
from cluster_client._delegates import DelegateTable
from cluster_client._dialects import (
    CallRequest,
    NodeDialect,
    PeerDialect,
    read_call,
    unpack_arguments,
)
from cluster_protocol import (
    Frame,
    Invoke,
    RemoteProtocolError,
    decode_message,
    join_arguments,
    pack_call,
)
from cluster_protocol.codecs import Codec, JsonCodec, MsgpackCodec

CODEC = MsgpackCodec()
NEVER = math.inf


class Real:
    async def echo(self, value: Any, *, times: int = 1) -> Any: ...

    async def get_data(self, key: str) -> Any: ...


TABLE = DelegateTable(Real, {})


def request(*args: Any, **kwargs: Any) -> CallRequest:
    return CallRequest(TABLE.by_target["echo"], args, kwargs, 3)


def invocation(application: bytes, *, timeout_ms: int = 0) -> Frame:
    return Frame(False, 1, timeout_ms, b"{}", application)


# ------------------------------------------------------------------- calls


class CountingCodec:
    name = "counting"

    def __init__(self) -> None:
        self.encoded: list[object] = []

    def encode(self, value: object, /) -> bytes:
        self.encoded.append(value)
        return CODEC.encode(value)

    def decode(self, data: bytes, /) -> object:
        return CODEC.decode(data)


def test_a_request_is_encoded_once_per_codec() -> None:
    counting = CountingCodec()
    made = request(1, times=2)
    codecs: list[Codec] = [counting, counting, JsonCodec(), counting]
    encoded = [made.encode(codec) for codec in codecs]
    assert len(counting.encoded) == 2
    assert encoded[0] == encoded[1] == encoded[3] == CODEC.encode([[1], {"times": 2}])
    assert encoded[2] == b'[[1],{"times":2}]'


def test_an_argument_that_cannot_be_encoded_is_named_with_its_method() -> None:
    with pytest.raises(EncodeError, match=r"arguments of 'echo': value\[0\]\[0\]"):
        PeerDialect(CODEC).body(request(object()), NEVER)
    with pytest.raises(EncodeError, match=r"argument 1 of 'echo': value\['a'\]"):
        NodeDialect(JsonCodec()).body(request(1, {"a": object()}), NEVER)


def test_our_peers_get_a_packed_call_with_its_deadline() -> None:
    dialect, made = PeerDialect(CODEC), request(1, times=2)
    head = dialect.head(made, False, 64)
    assert decode_message(head, is_response=False) == Invoke("echo", 1, packed=True, credit=64)
    assert dialect.body(made, 5.0) == pack_call(5_000_000, CODEC.encode([[1], {"times": 2}]))


@pytest.mark.parametrize("oneway", [False, True])
def test_node_gets_its_list_of_arguments(oneway: bool) -> None:
    dialect, made = NodeDialect(JsonCodec()), request("a", 1)
    assert dialect.head(made, oneway).decode() == (
        f'{{"type":"invoke","method":"echo","argLength":2,"oneway":{str(oneway).lower()}}}'
    )
    assert dialect.body(made, 5.0) == join_arguments([b'"a"', b"1"])


def test_node_has_no_keyword_arguments() -> None:
    with pytest.raises(TypeError, match=r"echo\(\): a Node process leads, .* and no times"):
        NodeDialect(JsonCodec()).body(request(1, times=2), NEVER)


def test_arguments_that_are_too_large_together_are_refused() -> None:
    half = "x" * (33 << 20)
    with pytest.raises(EncodeError, match="arguments of 'echo': 692060"):
        NodeDialect(JsonCodec()).body(request(half, half), NEVER)


@pytest.mark.parametrize("dialect", [PeerDialect(CODEC), NodeDialect(JsonCodec())])
def test_methods_go_by_their_names_on_the_wire(dialect: PeerDialect | NodeDialect) -> None:
    method = DelegateTable(Real, {}, camel_case=True).by_target["get_data"]
    head = dialect.head(CallRequest(method, ("k",), {}, 3), False)
    message = decode_message(head, is_response=False)
    assert isinstance(message, Invoke)
    assert message.method == "getData"


# ----------------------------------------------------------------- reading


def test_both_forms_of_a_call_are_read() -> None:
    packed = pack_call(5_000_000, CODEC.encode([[1], {"times": 2}]))
    assert read_call(Invoke("echo", 1, packed=True), invocation(packed), CODEC) == (
        ((1,), {"times": 2}),
        5.0,
    )
    nodes = join_arguments([CODEC.encode(1), CODEC.encode("a")])
    assert read_call(Invoke("echo", 2), invocation(nodes), CODEC) == (((1, "a"), {}), NEVER)


def test_node_tells_how_long_it_waits() -> None:
    before = now() + 3
    _, deadline = read_call(Invoke("echo", 0), invocation(b"", timeout_ms=3000), CODEC)
    assert before <= deadline <= now() + 3


@pytest.mark.parametrize(
    ("message", "timeout_ms"),
    [(Invoke("echo", 0, oneway=True), 3000), (Invoke("echo", 0), 0), (Invoke("echo", 0), -1)],
    ids=["wants no answer", "no limit", "nonsense"],
)
def test_otherwise_it_waits_for_ever(message: Invoke, timeout_ms: int) -> None:
    _, deadline = read_call(message, invocation(b"", timeout_ms=timeout_ms), CODEC)
    assert deadline == NEVER


@pytest.mark.parametrize("value", [None, [], [[], {}, 1], [{}, {}], [[], []], [[], {1: 2}]])
def test_a_packed_call_of_another_shape_is_refused(value: object) -> None:
    with pytest.raises(RemoteProtocolError, match="must hold a list and a mapping"):
        unpack_arguments(value)


# ------------------------------------------------------------------ errors


class CodedError(Exception):
    def __init__(self) -> None:
        super().__init__("no such key")
        self.code = "E_KEY"
        self.path = "/k"


def test_our_peers_are_told_the_class_and_the_fields_of_an_error() -> None:
    told: Any = CODEC.decode(PeerDialect(CODEC).failure(CodedError()))
    assert told["module"] == CodedError.__module__
    assert told["fields"] == {"code": "E_KEY", "path": "/k"}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (CodedError(), {"name": "CodedError", "message": "no such key", "code": "E_KEY"}),
        (ValueError("x"), {"name": "ValueError", "message": "x"}),
    ],
)
def test_node_is_told_what_it_knows(error: Exception, expected: dict[str, str]) -> None:
    dialect = NodeDialect(JsonCodec())
    told: Any = JsonCodec().decode(dialect.failure(error))
    assert list(told)[:3] == ["stack", "name", "message"]
    assert error.__class__.__name__ in told.pop("stack")
    assert told == expected
    outcome: Any = JsonCodec().decode(dialect.registration_outcome(error))
    assert outcome["success"] is False
    assert set(outcome["error"]) == {"stack", *expected}


@pytest.mark.parametrize("dialect", [PeerDialect(JsonCodec()), NodeDialect(JsonCodec())])
def test_a_start_that_worked_is_told_in_one_way(dialect: PeerDialect | NodeDialect) -> None:
    assert dialect.registration_outcome(None) == b'{"success":true}'
