"""The cluster protocol without I/O: bytes in, messages out.

Nothing here knows sockets, clocks or event loops; SPEC.md beside this package
is normative. Typical use::

    decoder = FrameDecoder()
    decoder.receive_data(data)
    while (frame := decoder.next_frame()) is not None:
        message = decode_message(frame.connection, is_response=frame.is_response)
"""

from __future__ import annotations

from cluster_protocol.calls import (
    NO_DEADLINE,
    join_arguments,
    pack_call,
    split_arguments,
    unpack_call,
)
from cluster_protocol.decoder import DEFAULT_LIMITS, REGISTRATION_LIMITS, FrameDecoder, FrameLimits
from cluster_protocol.errors import (
    FrameTooLargeError,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    UnencodableValueError,
)
from cluster_protocol.failures import (
    Failure,
    decode_registration_outcome,
    encode_registration_outcome,
)
from cluster_protocol.frames import (
    HEADER_SIZE,
    MAX_REQUEST_ID,
    VERSION,
    Frame,
    encode_frame,
    frame_bytes,
)
from cluster_protocol.messages import (
    Cancel,
    Goodbye,
    GoodbyeAck,
    Heartbeat,
    HeartbeatAck,
    Invoke,
    InvokeResult,
    Json,
    JsonObject,
    Message,
    RealClientState,
    RegisterChannel,
    RegisterChannelResult,
    RegistrationPending,
    Snapshot,
    StreamCredit,
    StreamItem,
    Subscribe,
    SubscribeAck,
    SubscribeResult,
    SubscribeResultAck,
    UnknownMessage,
    Unsubscribe,
    ValuesMissed,
    ValuesTaken,
    decode_message,
)
from cluster_protocol.negotiation import (
    CANCEL,
    EVENTS,
    FEATURES,
    GOODBYE,
    PACKED,
    REAL_CLIENT_STATE,
    SNAPSHOT,
    STREAM,
    SUBSCRIBE_ACK,
    VALUES_TAKEN,
    Agreement,
    Offer,
    negotiate,
)

__all__ = [
    "CANCEL",
    "DEFAULT_LIMITS",
    "EVENTS",
    "FEATURES",
    "GOODBYE",
    "HEADER_SIZE",
    "MAX_REQUEST_ID",
    "NO_DEADLINE",
    "PACKED",
    "REAL_CLIENT_STATE",
    "REGISTRATION_LIMITS",
    "SNAPSHOT",
    "STREAM",
    "SUBSCRIBE_ACK",
    "VALUES_TAKEN",
    "VERSION",
    "Agreement",
    "Cancel",
    "Failure",
    "Frame",
    "FrameDecoder",
    "FrameLimits",
    "FrameTooLargeError",
    "Goodbye",
    "GoodbyeAck",
    "Heartbeat",
    "HeartbeatAck",
    "Invoke",
    "InvokeResult",
    "Json",
    "JsonObject",
    "LocalProtocolError",
    "Message",
    "Offer",
    "ProtocolError",
    "RealClientState",
    "RegisterChannel",
    "RegisterChannelResult",
    "RegistrationPending",
    "RemoteProtocolError",
    "Snapshot",
    "StreamCredit",
    "StreamItem",
    "Subscribe",
    "SubscribeAck",
    "SubscribeResult",
    "SubscribeResultAck",
    "UnencodableValueError",
    "UnknownMessage",
    "Unsubscribe",
    "ValuesMissed",
    "ValuesTaken",
    "decode_message",
    "decode_registration_outcome",
    "encode_frame",
    "encode_registration_outcome",
    "frame_bytes",
    "join_arguments",
    "negotiate",
    "pack_call",
    "split_arguments",
    "unpack_call",
]
