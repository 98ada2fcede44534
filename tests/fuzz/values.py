"""Targets: every codec, errors and registrations."""

from __future__ import annotations

import json
import traceback
from typing import Any, Final, cast

from cluster_client import _exceptions
from cluster_client._registrations import check_for_node, check_registration
from cluster_client.errors import EncodeError
from cluster_protocol import (
    Failure,
    RemoteProtocolError,
    UnencodableValueError,
    decode_registration_outcome,
)
from cluster_protocol.codecs import (
    UNDEFINED,
    Codec,
    JavaScriptError,
    JsonCodec,
    MsgpackCodec,
    SerializeJsonCodec,
    UserType,
    UserTypes,
    json_text,
)
from cluster_protocol.codecs._user_types import dataclass_functions, enum_functions
from fuzz.meaning import check_same, check_types, may_be_refused
from wire._vectors import Colour, Point

TYPES: Final = UserTypes(
    UserType("point", Point, *dataclass_functions(Point)),
    UserType("colour", Colour, *enum_functions(Colour)),
    UserType(
        "JavaScriptError",
        JavaScriptError,
        lambda error: [error.message, error.stack, error.fields],
        lambda parts: JavaScriptError(*parts),
    ),
)
MSGPACK: Final = MsgpackCodec(TYPES)
JSON: Final = JsonCodec()
SERIALIZE_JSON: Final = SerializeJsonCodec()
CODECS: Final[tuple[Codec, ...]] = (MSGPACK, JSON, SERIALIZE_JSON)


def _check_codec(codec: Codec, data: bytes) -> None:
    """What can be read can be written, and is read as the same again."""
    javascript = codec.name == SERIALIZE_JSON.name
    try:
        value = codec.decode(data)
    except RemoteProtocolError as exc:
        assert str(exc)
        return
    check_types(value)
    try:
        written = codec.encode(value)
    except UnencodableValueError as exc:
        assert may_be_refused(exc), exc
        return
    check_same(value, codec.decode(written), javascript=javascript)


def check_msgpack(data: bytes) -> None:
    _check_codec(MSGPACK, data)


def check_json(data: bytes) -> None:
    _check_codec(JSON, data)


def check_serialize_json(data: bytes) -> None:
    _check_codec(SERIALIZE_JSON, data)
    try:
        value = SerializeJsonCodec(undefined=UNDEFINED).decode(data)
    except RemoteProtocolError:
        return
    if value is UNDEFINED:
        assert SERIALIZE_JSON.decode(data) is None


def check_failure(data: bytes) -> None:
    """An error that arrives can be raised, shown and sent on; the first byte chooses the codec."""
    codec = CODECS[(data[0] if data else 0) % len(CODECS)]
    try:
        value = codec.decode(data[1:])
    except RemoteProtocolError:
        return
    try:
        decode_registration_outcome(value)
    except RemoteProtocolError as exc:
        assert str(exc)
    try:
        failure = Failure.from_value(value)
    except RemoteProtocolError as exc:
        assert str(exc)
        return
    made = _exceptions.from_failure(failure)
    assert not isinstance(made, (StopIteration, StopAsyncIteration))
    for text in (str(made), repr(made), "".join(traceback.format_exception(made))):
        assert isinstance(text, str)
    again = Failure.from_value(codec.decode(_exceptions.encode_failure(made, codec)))
    assert again.name
    Failure.from_value(codec.decode(_exceptions.encode_failure(made, codec, for_node=True)))


def check_registrations(data: bytes) -> None:
    """Keys of a registration tell what it is, whatever the order of its keys."""
    try:
        reg: Any = JSON.decode(data)
    except RemoteProtocolError:
        return
    try:
        checked = check_registration(reg)
    except EncodeError as exc:
        assert str(exc)
        return
    prefix = "$$inner$$__"
    assert checked.key.startswith(prefix)
    inexact = False
    try:
        check_for_node(checked)
    except EncodeError:
        inexact = True
    for text in (checked.key.removeprefix(prefix), checked.identity):
        # An integer that is no double may get a ``.0``, by which it is told from its neighbour.
        if not inexact:
            check_same(json.loads(text), checked.reg, javascript=True)
    assert check_registration(checked.reg) == checked
    assert check_registration(_reordered(checked.reg)).identity == checked.identity
    assert json_text(checked.reg, sort_keys=True) == checked.identity


def _reordered(value: Any) -> Any:
    """Return *value* with the outermost keys backwards; the rest is found by mutation."""
    if isinstance(value, dict):
        return dict(reversed(cast("dict[str, Any]", value).items()))
    return value
