"""What fuzzing starts from: the golden vectors, behind the bytes of options that a target has."""

from __future__ import annotations

import json
from typing import Any, Final

from cluster_client._exceptions import encode_failure
from cluster_client.errors import RefusedError
from cluster_protocol import HEADER_SIZE, Frame, FrameDecoder, encode_frame
from fuzz.values import CODECS
from fuzz.wild import REQUESTS, RESPONSES
from wire._vectors import load

_VALUE_PARTS: Final = ("values", "decode_only", "invalid")


def _bytes_of(file: str, part: str | None = None) -> list[bytes]:
    return [bytes.fromhex(vector["hex"]) for vector in load(file, part)]


def streams() -> list[bytes]:
    """Return frames one by one, those that are none, and a whole conversation."""
    conversation = b"".join(_bytes_of("node_conversation.json"))
    return [
        *_bytes_of("frames.json"),
        *_bytes_of("invalid_frames.json", "frames"),
        *_bytes_of("invalid_frames.json", "messages"),
        conversation,
    ]


def decoder() -> list[bytes]:
    frames = streams()
    pairs = [one + other for one, other in zip(frames, frames[7:], strict=False)]
    return [bytes([index % 3, index % 8]) + data for index, data in enumerate(frames + pairs)]


def messages() -> list[bytes]:
    found: list[bytes] = []
    for data in (*_bytes_of("frames.json"), *_bytes_of("invalid_frames.json", "messages")):
        size = int.from_bytes(data[16:20], "big")
        found.append(data[1:2] + data[HEADER_SIZE : HEADER_SIZE + size])
    return found


def msgpack() -> list[bytes]:
    return [data for part in _VALUE_PARTS for data in _bytes_of("msgpack.json", part)]


def serialize_json() -> list[bytes]:
    parts = (*_VALUE_PARTS, "encode_only")
    return [data for part in parts for data in _bytes_of("serialize_json.json", part)]


def json_texts() -> list[bytes]:
    texts = [vector["text"].encode() for vector in load("javascript_text.json")]
    connections = [data[1:] for data in messages()]
    return texts + connections


def calls() -> list[bytes]:
    packed = [
        data
        for part in ("packed", "invalid_packed")
        for data in _bytes_of("packed_calls.json", part)
    ]
    lists: list[bytes] = []
    for part in ("argument_lists", "invalid_argument_lists"):
        for vector in load("packed_calls.json", part):
            count = vector.get("count", len(vector.get("arguments", [])))
            lists.append(bytes([0, min(count, 255)]) + bytes.fromhex(vector["hex"]))
    return [b"\x01\0" + data for data in packed] + lists


def failures() -> list[bytes]:
    """Return errors in each codec, as a leader sends them."""
    raised = (
        *(
            ValueError("boom"),
            KeyError("k"),
            OSError(2, "no such file", "/k"),
            RefusedError("m", "x"),
        ),
        *(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"), ImportError("no", name="n", path="p")),
    )
    return [
        bytes([index]) + encode_failure(exc, codec, for_node=for_node)
        for index, codec in enumerate(CODECS)
        for exc in raised
        for for_node in (False, True)
    ]


def leader() -> list[bytes]:
    """Return what a follower may say once it has registered."""
    bodies = (b"", b"\0" * 8 + b"\x92\x91\x01\x80", b"\0" * 8 + b"\x92\x91\xa2/k\x80")
    found = [bytes([index % 2, index % 8]) + data for index, data in enumerate(streams())]
    for method in ("echo", "get", "put", "hold", "rows", "fail"):
        members: dict[str, Any] = {**REQUESTS["invoke"], "method": method}
        if method == "rows":
            members["credit"] = 64
        found += [b"\0\0" + _request("invoke", members, body) for body in bodies]
    found += [b"\0\0" + _request(name, members, b"") for name, members in REQUESTS.items()]
    return found


def follower() -> list[bytes]:
    """Return what a leader may say to a follower with a call, a stream and a subscription."""
    found = [bytes([index % 2, index % 8]) + data for index, data in enumerate(streams())]
    failure = encode_failure(ValueError("boom"), CODECS[0])
    for name, members in RESPONSES.items():
        for request_id in range(1, 6):
            for body in (b"", b"\x01", failure):
                for success in (True, False):
                    told = {**members, "success": success} if "success" in members else members
                    found.append(b"\0\0" + _response(request_id, name, told, body))
    for name, members in REQUESTS.items():
        found += [b"\0\0" + _request(name, members, body) for body in (b"", b"\x01")]
    return found


def joining() -> list[bytes]:
    """Return what may answer a registration."""
    accepted = b"\x81\xa7success\xc3"
    agreement = {"codec": "msgpack", "features": ["packed"], "epoch": "e", "pid": 7}
    answers = [
        _response(10, "register_channel_res", {"agreement": agreement}, accepted),
        _response(10, "register_channel_res", {}, accepted),
        _request("registration_pending", REQUESTS["registration_pending"], b""),
    ]
    return [b"\0\0" + data for data in (*streams(), *answers, answers[2] + answers[0])]


def knocking() -> list[bytes]:
    """Return what a stranger may say to an open port."""
    register = _request("register_channel", REQUESTS["register_channel"], b"")
    as_node = _request("register_channel", {"channelName": "Store"}, b"")
    return [b"\0\0" + data for data in (*streams(), register, as_node, as_node * 2, register * 2)]


def _request(name: str, members: dict[str, Any], body: bytes) -> bytes:
    connection = json.dumps({"type": name, **members}).encode()
    return encode_frame(Frame(False, 1, 3000, connection, body))


def _response(request_id: int, name: str, members: dict[str, Any], body: bytes) -> bytes:
    connection = json.dumps({"type": name, **members}).encode()
    return encode_frame(Frame(True, request_id, 0, connection, body))


def frames_of(data: bytes) -> list[Frame]:
    """Return all whole frames of a stream."""
    return FrameDecoder().receive_frames(data)
