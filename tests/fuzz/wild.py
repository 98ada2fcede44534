"""A grammar of what a hostile peer might send: mostly valid, with something wild in it.

Everything is drawn from a `random.Random`, which a fuzzer seeds and hypothesis replaces.
"""

from __future__ import annotations

import json
import struct
from random import Random
from typing import Any, Final

from cluster_protocol import NO_DEADLINE, Frame, encode_frame, join_arguments, pack_call
from cluster_protocol.codecs import Codec, MsgpackCodec

_KEY: Final = '$$inner$$__{"path":"/k"}'
_FAILURE: Final = ("name", "message", "code", "stack", "args", "fields", "module")
_CODEC: Final = MsgpackCodec()

REQUESTS: Final[dict[str, dict[str, Any]]] = {
    "register_channel": {
        "channelName": "Store",
        "offer": {"codecs": ["msgpack"], "features": ["packed"], "pid": 7, "channels": ["Store"]},
    },
    "registration_pending": {"starting": True, "pid": 7, "channels": ["Store"]},
    "invoke": {"method": "echo", "argLength": 1, "oneway": False, "packed": True},
    "subscribe": {"key": _KEY, "reg": {"path": "/k"}},
    "unSubscribe": {"key": _KEY, "reg": {"path": "/k"}},
    "subscribe_result": {"key": _KEY},
    "values_taken": {"count": 1},
    "values_missed": {"key": _KEY, "count": 2, "reason": "slow"},
    "heartbeat": {},
    "cancel": {"call": 1},
    "stream_item": {"call": 3},
    "stream_credit": {"call": 3, "credit": 64},
    "real_client_state": {"ready": False, "reason": "lost"},
    "snapshot": {},
    "goodbye": {},
    "nobody_knows_this": {"a": 1},
}
RESPONSES: Final[dict[str, dict[str, Any]]] = {
    "register_channel_res": {
        "agreement": {"codec": "msgpack", "features": ["packed"], "epoch": "e", "pid": 7}
    },
    "invoke_result": {"success": True},
    "subscribe_res": {"success": True},
    "subscribe_result_res": {},
    "heartbeat_res": {},
    "goodbye_res": {},
}
METHODS: Final = ("echo", "get", "put", "hold", "fail", "rows", "publish", "subscribe", "_x", "")

WILD_JSON: Final = (
    *("null", "true", "false", "0", "-1", "1", "65", "2147483648", "18446744073709551616"),
    *("9007199254740993", "1" * 400, "9" * 4300, "1e999", "-1e999", "1e-400", "-0.0", "0.1"),
    *('""', '"a"', '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"__proto__"', '"__notes__"'),
    *("[]", "{}", "[1,[2,[3]]]", '{"a":{"b":{}}}', '{"1":1,"0":0,"a":1}', '{"a":1,"a":2}'),
    *("NaN", "[1,]", "{1:2}", "tru", '"' + "x" * 300 + '"', "[" * 600 + "]" * 600, '"\xe9\u2028"'),
)
_EXTENSION_TEXTS: Final = (
    *("2024-02-29", "2024-02-29T00:00:00", "2024-02-29T23:59:59.999999+23:59:59.999999"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2024-W01-1", "20240229T12"),
    *("1.50", "-0", "NaN", "sNaN", "NaN123", "-Infinity", "1E+999999", "1E-999999", "1_0", " 1"),
    *("", "x", "\u0661", "9" * 400),
)


def wild_json(random: Random) -> str:
    """Return JSON text, or something like it."""
    kind = random.randrange(6)
    if kind == 0:
        return "[" + ",".join(wild_json(random) for _ in range(random.randrange(4))) + "]"
    if kind == 1:
        members = (
            f"{json.dumps(_name(random))}:{wild_json(random)}" for _ in range(random.randrange(4))
        )
        return "{" + ",".join(members) + "}"
    return random.choice(WILD_JSON)


def _name(random: Random) -> str:
    return random.choice([*_FAILURE, "path", "value", "success", "error", "0", "10", "__proto__"])


def wild_connection(random: Random, *, is_response: bool) -> bytes:
    """Return a connection object, as a rule with a member that is wild, missing or unknown."""
    table = RESPONSES if is_response else REQUESTS
    name = random.choice([*table])
    members = {key: json.dumps(value) for key, value in table[name].items()}
    if name == "invoke":
        members["method"] = json.dumps(random.choice(METHODS))
        members["packed"] = random.choice(["true", "false"])
        if random.random() < 0.3:
            members["credit"] = random.choice(["0", "1", "64"])
    wildness = random.randrange(6)
    if wildness == 0 and members:
        members[random.choice([*members])] = wild_json(random)
    elif wildness == 1 and members:
        del members[random.choice([*members])]
    elif wildness == 2:
        members[random.choice(["offer", "agreement", "credit", "refused", "x"])] = wild_json(random)
    text = ",".join(f"{json.dumps(key)}:{value}" for key, value in members.items())
    body = f'{{"type":{json.dumps(name)}{"," if text else ""}{text}}}'
    return body.encode("utf-8", "surrogatepass")


# --------------------------------------------------------------------- msgpack


def wild_msgpack(random: Random, depth: int = 0) -> bytes:
    """Return msgpack, extensions included, or something like it."""
    kind = random.randrange(12 if depth < 6 else 8)
    match kind:
        case 0:
            return random.choice([b"\xc0", b"\xc2", b"\xc3", b"\x00", b"\xff", b"\xc1", b"\xa1k"])
        case 1:
            return _CODEC.encode(random.choice([2**64, -(2**70), 10**400, 2**53 + 1, -1, 128]))
        case 2:
            return b"\xcb" + struct.pack(">d", random.choice([0.0, -0.0, 1e300, float("nan"), 0.1]))
        case 3:
            return _CODEC.encode(
                random.choice(["", "/k", "__notes__", "\u2028", "x" * 300, *METHODS])
            )
        case 4:
            return _CODEC.encode(random.choice([b"", b"\xff" * 16, b"\0" * 300]))
        case 5 | 6:
            text = random.choice(_EXTENSION_TEXTS).encode()
            return extension(random.choice([2, 3, 5, random.randrange(256)]), text)
        case 7:
            content = random.choice([b"", b"\xff" * 16, b"\0" * 8, b"\0" * 12, bytes(200)])
            return extension(random.choice([1, 6, 255, 100]), content)
        case 8:
            return _list(random, depth, b"\x90", b"\xdc")
        case 9:
            return wild_failure(random, depth + 1) if random.random() < 0.5 else _map(random, depth)
        case 10:
            return extension(random.choice([4, 7, 8]), _list(random, depth, b"\x90", b"\xdc"))
        case _:
            name = random.choice(["point", "colour", "JavaScriptError", "nobody"])
            content = b"\x92" + _CODEC.encode(name) + wild_msgpack(random, depth + 1)
            return extension(9, content)


def _list(random: Random, depth: int, short: bytes, long: bytes) -> bytes:
    count = random.randrange(4)
    items = b"".join(wild_msgpack(random, depth + 1) for _ in range(count))
    if random.random() < 0.1:
        return long + struct.pack(">H", random.choice([count, 1000, 65535])) + items
    return bytes([short[0] | count]) + items


def _map(random: Random, depth: int) -> bytes:
    count = random.randrange(4)
    pairs = (wild_msgpack(random, depth + 1) for _ in range(2 * count))
    return bytes([0x80 | count]) + b"".join(pairs)


def wild_failure(random: Random, depth: int = 0) -> bytes:
    """Return the map of an error, in msgpack."""
    classes = ("ValueError", "OSError", "KeyError", "UnicodeDecodeError", "UnicodeEncodeError")
    others = ("RefusedError", "EncodeError", "StopIteration", "SystemExit", "Nobody")
    members = {
        "name": _CODEC.encode(random.choice([*classes, *others])),
        "message": _CODEC.encode("boom"),
        "module": _CODEC.encode(random.choice(["builtins", "cluster_client.errors", ""])),
        "stack": _CODEC.encode(random.choice(["", "Traceback"])),
    }
    for name in ("args", "fields", "code", *_FAILURE):
        if random.random() < 0.3:
            members[name] = wild_msgpack(random, depth + 1)
    if random.random() < 0.3:
        attributes = ("__notes__", "__dict__", "args", "errno", "object", "start", "reason", "name")
        named = (
            _CODEC.encode(random.choice(attributes)) + wild_msgpack(random, depth + 1)
            for _ in range(2)
        )
        members["fields"] = b"\x82" + b"".join(named)
    if random.random() < 0.3:
        members["args"] = _CODEC.encode(
            ["utf-8", random.choice([b"xy", "xy"]), *_places(random), "why"]
        )
    pairs = (_CODEC.encode(key) + value for key, value in members.items())
    return bytes([0x80 | min(len(members), 15)]) + b"".join(pairs)


def _places(random: Random) -> tuple[int, int]:
    start = random.choice([0, 1, 5, -1, -(10**9), 2**62, 2**64])
    return start, start + random.choice([0, 1, -1, 2])


def extension(code: int, content: bytes) -> bytes:
    """Return an extension of msgpack."""
    return b"\xc8" + struct.pack(">HB", len(content) & 0xFFFF, code) + content


# ---------------------------------------------------------------------- frames


def wild_application(random: Random) -> bytes:
    """Return an application object in the codec msgpack."""
    kind = random.randrange(8)
    deadline = random.choice([NO_DEADLINE, NO_DEADLINE, NO_DEADLINE, 1, 2**63, 2**64 - 1])
    match kind:
        case 0:
            return b""
        case 1:
            return wild_failure(random)
        case 2:
            return wild_msgpack(random)
        case 3:
            return join_arguments(wild_msgpack(random) for _ in range(random.randrange(3)))
        case 4:
            return pack_call(deadline, wild_msgpack(random))
        case 5:
            return pack_call(deadline, _CODEC.encode([[{"path": "/k", "value": 1}], {}]))
        case _:
            return pack_call(deadline, b"\x92\x91" + wild_msgpack(random) + b"\x80")


def wild_frame(random: Random) -> bytes:
    """Return a frame, valid as such."""
    is_response = random.random() < 0.4
    ids = (*range(1, 9), *range(1, 5), 0, 2**30, 2**64 - 1)
    return encode_frame(
        Frame(
            is_response,
            random.choice(ids),
            random.choice([0, 0, 3000, 1, -1, 2**31 - 1, -(2**31)]),
            wild_connection(random, is_response=is_response),
            wild_application(random),
        )
    )


def wild_conversation(random: Random) -> bytes:
    """Return several frames of a peer."""
    return b"".join(wild_frame(random) for _ in range(random.randrange(1, 8)))


def encoded(codec: Codec, value: object) -> bytes:
    """Return *value* in a codec, or nothing if it cannot be."""
    try:
        return codec.encode(value)
    except Exception:
        return b""
