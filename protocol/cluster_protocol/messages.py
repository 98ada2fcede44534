"""Connection objects: what a frame is about (SPEC sections 3 and 6).

One frozen dataclass per type of the conversation. A message is the connection
object only; the application object travels beside it, encoded in the codec
that the peers agreed on.

Long, as the conversation has 23 types; each class is to be read on its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, Final

from cluster_protocol._members import Json, JsonObject, Members, parse_json
from cluster_protocol.errors import LocalProtocolError, RemoteProtocolError
from cluster_protocol.negotiation import Agreement, Offer

__all__ = [
    "Cancel",
    "Goodbye",
    "GoodbyeAck",
    "Heartbeat",
    "HeartbeatAck",
    "Invoke",
    "InvokeResult",
    "Json",
    "JsonObject",
    "Message",
    "RealClientState",
    "RegisterChannel",
    "RegisterChannelResult",
    "RegistrationChallenge",
    "RegistrationPending",
    "RegistrationProof",
    "Snapshot",
    "StreamCredit",
    "StreamItem",
    "Subscribe",
    "SubscribeAck",
    "SubscribeResult",
    "SubscribeResultAck",
    "UnknownMessage",
    "Unsubscribe",
    "ValuesMissed",
    "ValuesTaken",
    "decode_message",
]


class Message:
    """Base of the message classes.

    Attributes:
        type: The ``type`` member of the connection object.
        is_response: Whether it travels in a response frame.
    """

    __slots__ = ()

    type: ClassVar[str]
    is_response: ClassVar[bool]

    def encode(self) -> bytes:
        """Return the connection object as JSON text in UTF-8.

        Raises:
            LocalProtocolError: If a member is not plain JSON.
        """
        members: JsonObject = {"type": self.type, **self._members()}
        try:
            # ASCII escapes are not used: Node counts bytes, and so does our limit.
            text = json.dumps(members, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
            return text.encode()
        except (TypeError, ValueError, RecursionError) as exc:  # a lone surrogate: ValueError
            raise LocalProtocolError(f"{self.type}: not plain JSON: {exc}") from exc

    def _members(self) -> JsonObject:
        return {}


@dataclass(frozen=True, slots=True)
class RegisterChannel(Message):
    """Follower → leader, the first frame of a connection (SPEC 3.1).

    Attributes:
        channel: The client's name, which the leader must serve.
        offer: What the follower can do beyond Node's protocol; ``None`` from a Node follower.
    """

    type: ClassVar[str] = "register_channel"
    is_response: ClassVar[bool] = False

    channel: str
    offer: Offer | None = None

    def _members(self) -> JsonObject:
        members: JsonObject = {"channelName": self.channel}
        if self.offer is not None:
            members["offer"] = self.offer.to_json()
        return members


@dataclass(frozen=True, slots=True)
class RegisterChannelResult(Message):
    """The answer to `RegisterChannel`, once the real client is ready or has failed (SPEC 3.1).

    The application object tells which: ``{success}`` or ``{success, error}``.

    Attributes:
        agreement: What holds on this link; ``None`` from a Node leader.
    """

    type: ClassVar[str] = "register_channel_res"
    is_response: ClassVar[bool] = True

    agreement: Agreement | None = None

    def _members(self) -> JsonObject:
        return {} if self.agreement is None else {"agreement": self.agreement.to_json()}


@dataclass(frozen=True, slots=True)
class RegistrationPending(Message):
    """Leader → follower, a request without an answer: keep waiting (SPEC 6.1).

    Attributes:
        starting: True if the channel is there and its real client not yet ready;
            False if the process has no such channel.
        pid: Process that holds the port.
        channels: The channels that it serves.
    """

    type: ClassVar[str] = "registration_pending"
    is_response: ClassVar[bool] = False

    starting: bool
    pid: int
    channels: tuple[str, ...] = ()

    def _members(self) -> JsonObject:
        return {"starting": self.starting, "pid": self.pid, "channels": list(self.channels)}


@dataclass(frozen=True, slots=True)
class RegistrationChallenge(Message):
    """Leader → follower, without an answer: prove that you know the secret (SPEC 5.5).

    Attributes:
        nonce: The leader's.
    """

    type: ClassVar[str] = "registration_challenge"
    is_response: ClassVar[bool] = False

    nonce: str

    def _members(self) -> JsonObject:
        return {"nonce": self.nonce}


@dataclass(frozen=True, slots=True)
class RegistrationProof(Message):
    """Follower → leader, without an answer of its own: it knows the secret (SPEC 5.5).

    Attributes:
        proof: See `Handshake.follower_proof`.
    """

    type: ClassVar[str] = "registration_proof"
    is_response: ClassVar[bool] = False

    proof: str

    def _members(self) -> JsonObject:
        return {"proof": self.proof}


@dataclass(frozen=True, slots=True)
class Invoke(Message):
    """Follower → leader: call a method of the real client (SPEC 3.2).

    Attributes:
        method: Its exact name.
        argument_count: Number of positional arguments.
        oneway: True if no answer is wanted.
        packed: True if the application object is a packed call (SPEC 6.2) and
            not Node's list of arguments.
        credit: If the result is to be streamed, how much of it may be sent at first (SPEC 6.6);
            ``None`` for a call that returns its result as a whole.
    """

    type: ClassVar[str] = "invoke"
    is_response: ClassVar[bool] = False

    method: str
    argument_count: int
    oneway: bool = False
    packed: bool = False
    credit: int | None = None

    def _members(self) -> JsonObject:
        members: JsonObject = {
            "method": self.method,
            "argLength": self.argument_count,
            "oneway": self.oneway,
        }
        if self.packed:
            members["packed"] = True
        if self.credit is not None:
            members["credit"] = self.credit
        return members


@dataclass(frozen=True, slots=True)
class InvokeResult(Message):
    """The answer to `Invoke` (SPEC 3.2).

    Attributes:
        success: Whether the application object is the result; else it is the error.
        refused: True if the method was not run, so that it is safe to call again (SPEC 6.4).
    """

    type: ClassVar[str] = "invoke_result"
    is_response: ClassVar[bool] = True

    success: bool
    refused: bool = False

    def _members(self) -> JsonObject:
        members: JsonObject = {"success": self.success}
        if self.refused:
            members["refused"] = True
        return members


@dataclass(frozen=True, slots=True)
class Subscribe(Message):
    """Follower → leader: send the values of a registration from now on (SPEC 3.3).

    Attributes:
        key: Under which the follower wants to be answered.
        reg: The registration, plain JSON.
        events: Whether each value counts, and not just the latest (SPEC 6.10).
    """

    type: ClassVar[str] = "subscribe"
    is_response: ClassVar[bool] = False

    key: str
    reg: Json
    events: bool = False

    def _members(self) -> JsonObject:
        return _subscription_members(self.key, self.reg, self.events)


@dataclass(frozen=True, slots=True)
class SubscribeAck(Message):
    """The answer to `Subscribe`, between our peers only (SPEC 6.5).

    Attributes:
        success: Whether the real client accepted; else the application object is the error.
    """

    type: ClassVar[str] = "subscribe_res"
    is_response: ClassVar[bool] = True

    success: bool

    def _members(self) -> JsonObject:
        return {"success": self.success}


@dataclass(frozen=True, slots=True)
class Unsubscribe(Message):
    """Follower → leader: send no more values of a registration (SPEC 3.3).

    Attributes:
        key: As it was subscribed to.
        reg: Likewise.
        events: Likewise.
    """

    type: ClassVar[str] = "unSubscribe"
    is_response: ClassVar[bool] = False

    key: str
    reg: Json
    events: bool = False

    def _members(self) -> JsonObject:
        return _subscription_members(self.key, self.reg, self.events)


def _subscription_members(key: str, reg: Json, events: bool) -> JsonObject:
    members: JsonObject = {"key": key, "reg": reg}
    if events:
        members["events"] = True
    return members


@dataclass(frozen=True, slots=True)
class SubscribeResult(Message):
    """Leader → follower, a request: a value of a registration (SPEC 3.3)."""

    type: ClassVar[str] = "subscribe_result"
    is_response: ClassVar[bool] = False

    key: str

    def _members(self) -> JsonObject:
        return {"key": self.key}


@dataclass(frozen=True, slots=True)
class SubscribeResultAck(Message):
    """The answer to `SubscribeResult`: the value has arrived (SPEC 3.3)."""

    type: ClassVar[str] = "subscribe_result_res"
    is_response: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class ValuesMissed(Message):
    """Leader → follower, without an answer: values of a registration are missing (SPEC 6.10).

    It stands where they would, in the order of the values.

    Attributes:
        key: Under which they would have come.
        count: How many; ``None`` if nobody knows.
        reason: Why, in words.
    """

    type: ClassVar[str] = "values_missed"
    is_response: ClassVar[bool] = False

    key: str
    count: int | None = None
    reason: str = ""

    def _members(self) -> JsonObject:
        members: JsonObject = {"key": self.key}
        if self.count is not None:
            members["count"] = self.count
        if self.reason:
            members["reason"] = self.reason
        return members


@dataclass(frozen=True, slots=True)
class ValuesTaken(Message):
    """Follower → leader, without an answer: so many more values have arrived (SPEC 6.9).

    Attributes:
        count: How many.
    """

    type: ClassVar[str] = "values_taken"
    is_response: ClassVar[bool] = False

    count: int

    def _members(self) -> JsonObject:
        return {"count": self.count}


@dataclass(frozen=True, slots=True)
class Heartbeat(Message):
    """Follower → leader, a sign of life (SPEC 3.4)."""

    type: ClassVar[str] = "heartbeat"
    is_response: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class HeartbeatAck(Message):
    """The answer to `Heartbeat` (SPEC 3.4)."""

    type: ClassVar[str] = "heartbeat_res"
    is_response: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Cancel(Message):
    """Follower → leader, without an answer: nobody waits for that call any more (SPEC 6.3).

    Attributes:
        call_id: Request id of the `Invoke`.
    """

    type: ClassVar[str] = "cancel"
    is_response: ClassVar[bool] = False

    call_id: int

    def _members(self) -> JsonObject:
        return {"call": self.call_id}


@dataclass(frozen=True, slots=True)
class StreamItem(Message):
    """Leader → follower, a request without an answer: the next item of a stream (SPEC 6.6).

    Attributes:
        call_id: Request id of the `Invoke`.
    """

    type: ClassVar[str] = "stream_item"
    is_response: ClassVar[bool] = False

    call_id: int

    def _members(self) -> JsonObject:
        return {"call": self.call_id}


@dataclass(frozen=True, slots=True)
class StreamCredit(Message):
    """Follower → leader, without an answer: more of a stream may be sent (SPEC 6.6).

    Attributes:
        call_id: Request id of the `Invoke`.
        credit: How much more.
    """

    type: ClassVar[str] = "stream_credit"
    is_response: ClassVar[bool] = False

    call_id: int
    credit: int

    def _members(self) -> JsonObject:
        return {"call": self.call_id, "credit": self.credit}


@dataclass(frozen=True, slots=True)
class RealClientState(Message):
    """Leader → follower, without an answer: its real client was lost, or made anew (SPEC 6.7).

    Attributes:
        ready: Whether there is one.
        reason: Why there is none.
    """

    type: ClassVar[str] = "real_client_state"
    is_response: ClassVar[bool] = False

    ready: bool
    reason: str = ""

    def _members(self) -> JsonObject:
        members: JsonObject = {"ready": self.ready}
        if self.reason:
            members["reason"] = self.reason
        return members


@dataclass(frozen=True, slots=True)
class Snapshot(Message):
    """Leader → follower, without an answer: what the next leader is to start from (SPEC 6.8).

    The application object has it, or is empty when there is nothing.
    """

    type: ClassVar[str] = "snapshot"
    is_response: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Goodbye(Message):
    """Leader → follower, a request: the leadership ends, send no more requests (SPEC 6.4)."""

    type: ClassVar[str] = "goodbye"
    is_response: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class GoodbyeAck(Message):
    """The answer to `Goodbye`; no request follows it on this link (SPEC 6.4)."""

    type: ClassVar[str] = "goodbye_res"
    is_response: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class UnknownMessage(Message):
    """A type that this version does not know; to be ignored (SPEC 5.3).

    Attributes:
        name: The ``type`` member as received.
        members: The whole connection object.
    """

    type: ClassVar[str] = "unknown"
    is_response: ClassVar[bool] = False

    name: str
    members: Mapping[str, Json] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Refuse: there is nothing to send."""
        raise LocalProtocolError(f"a message of unknown type {self.name!r} cannot be sent")


# ------------------------------------------------------------------ decoding

_CACHEABLE_SIZE: Final = 256


def decode_message(connection: bytes, *, is_response: bool) -> Message:
    """Return the message that a connection object stands for.

    Args:
        connection: The connection object of a frame.
        is_response: Whether the frame is a response.

    Raises:
        RemoteProtocolError: If it is not a JSON object with a ``type``, or a
            member is missing or of the wrong kind. Members that are not known
            are ignored.

    Source:
        SPEC section 3; cluster-client 3.7.0, ``lib/protocol/packet.js``.
    """
    if len(connection) <= _CACHEABLE_SIZE:
        return _decode_cached(connection, is_response)
    return _decode(connection, is_response)


def _decode(connection: bytes, is_response: bool) -> Message:
    try:
        members = parse_json(connection)
    except (ValueError, RecursionError) as exc:
        raise RemoteProtocolError(f"connection object is not JSON: {connection[:80]!r}") from exc
    if not isinstance(members, dict):
        raise RemoteProtocolError(f"connection object is not a JSON object: {connection[:80]!r}")
    name = members.get("type")
    if not isinstance(name, str):
        raise RemoteProtocolError(f"connection object without a type: {connection[:80]!r}")
    decode = (_RESPONSES if is_response else _REQUESTS).get(name)
    if decode is None:
        return UnknownMessage(name, members)
    return decode(Members(name, members))


# The same few objects arrive again and again; parsing them anew each time costs
# more than anything else in the decoder. Frozen, so sharing them is safe; a
# `reg` is not hashable content of ours, and nobody may change it.
_decode_cached = lru_cache(maxsize=1024)(_decode)


def _decode_register(members: Members) -> Message:
    offer = members.optional_object("offer")
    channel = members.text("channelName")
    return RegisterChannel(channel, None if offer is None else Offer.decode(offer))


def _decode_register_result(members: Members) -> Message:
    agreement = members.optional_object("agreement")
    return RegisterChannelResult(None if agreement is None else Agreement.decode(agreement))


def _decode_pending(members: Members) -> Message:
    return RegistrationPending(
        members.flag("starting"), members.count("pid"), members.texts("channels")
    )


def _decode_invoke(members: Members) -> Message:
    return Invoke(
        members.text("method"),
        members.count("argLength"),
        members.flag("oneway", default=False),
        members.flag("packed", default=False),
        members.optional_count("credit"),
    )


def _decode_invoke_result(members: Members) -> Message:
    return InvokeResult(members.flag("success"), members.flag("refused", default=False))


_REQUESTS: Final[dict[str, Callable[[Members], Message]]] = {
    RegisterChannel.type: _decode_register,
    RegistrationPending.type: _decode_pending,
    RegistrationChallenge.type: lambda m: RegistrationChallenge(m.text("nonce")),
    RegistrationProof.type: lambda m: RegistrationProof(m.text("proof")),
    Invoke.type: _decode_invoke,
    Subscribe.type: lambda m: Subscribe(
        m.text("key"), m.any("reg"), m.flag("events", default=False)
    ),
    Unsubscribe.type: lambda m: Unsubscribe(
        m.text("key"), m.any("reg"), m.flag("events", default=False)
    ),
    SubscribeResult.type: lambda m: SubscribeResult(m.text("key")),
    ValuesMissed.type: lambda m: ValuesMissed(
        m.text("key"), m.optional_count("count"), m.text("reason", default="")
    ),
    ValuesTaken.type: lambda m: ValuesTaken(m.count("count")),
    Heartbeat.type: lambda _: Heartbeat(),
    Cancel.type: lambda m: Cancel(m.count("call")),
    StreamItem.type: lambda m: StreamItem(m.count("call")),
    StreamCredit.type: lambda m: StreamCredit(m.count("call"), m.count("credit")),
    RealClientState.type: lambda m: RealClientState(m.flag("ready"), m.text("reason", default="")),
    Snapshot.type: lambda _: Snapshot(),
    Goodbye.type: lambda _: Goodbye(),
}
_RESPONSES: Final[dict[str, Callable[[Members], Message]]] = {
    RegisterChannelResult.type: _decode_register_result,
    InvokeResult.type: _decode_invoke_result,
    SubscribeAck.type: lambda m: SubscribeAck(m.flag("success")),
    SubscribeResultAck.type: lambda _: SubscribeResultAck(),
    HeartbeatAck.type: lambda _: HeartbeatAck(),
    GoodbyeAck.type: lambda _: GoodbyeAck(),
}
