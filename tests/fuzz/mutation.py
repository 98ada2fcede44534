"""Changing inputs so that they stay nearly valid: else nothing that lies deep is ever reached."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random
from typing import Final

from cluster_protocol import HEADER_SIZE, VERSION
from cluster_protocol.frames import HEADER
from fuzz.wild import (
    wild_application,
    wild_connection,
    wild_failure,
    wild_frame,
    wild_json,
    wild_msgpack,
)

Noise = Callable[[bytes], bytes]
"""The engine's own way to change bytes."""

Mutator = Callable[[bytes, Random, Noise], bytes]

_Parts = tuple[bytes, bytes, bytes]  # header, connection object, application object


def mutate_stream(data: bytes, random: Random, noise: Noise, *, prefix: int = 2) -> bytes:
    """Change frames behind *prefix* bytes of options; their lengths stay right as a rule."""
    if random.randrange(6) == 0:
        return noise(data)
    options = data[:prefix].ljust(prefix, b"\0")
    if random.randrange(20) == 0:
        options = noise(options)[:prefix].ljust(prefix, b"\0")
    frames, rest = _split(data[prefix:])
    for _ in range(random.randrange(1, 4)):
        place = random.randrange(len(frames) + 1)
        if place == len(frames) or random.randrange(5) == 0:
            frames[place:place] = _split(wild_frame(random))[0]
        else:
            frames[place : place + 1] = _changed(frames, place, random, noise)
    if random.randrange(20):
        rest = b""
    return options + b"".join(map(_joined, frames)) + rest


def _changed(frames: list[_Parts], place: int, random: Random, noise: Noise) -> list[_Parts]:
    header, connection, application = frames[place]
    match random.randrange(8):
        case 0:
            return []
        case 1:
            return [frames[place]] * 2
        case 2:
            return [(header, noise(connection) or b"{}", application)]
        case 3:
            return [(header, connection, noise(application))]
        case 4:
            return [(header, connection, wild_application(random))]
        case 5:
            return [(header, _with_member(connection, random), application)]
        case 6:
            is_response = bool(header[1:2] == b"\x01")
            return [(header, wild_connection(random, is_response=is_response), application)]
        case _:
            identified = header[:4] + random.randrange(8).to_bytes(8, "big") + header[12:]
            return [(identified, connection, application)]


def _split(data: bytes) -> tuple[list[_Parts], bytes]:
    frames: list[_Parts] = []
    while len(data) >= HEADER_SIZE and data[0] == VERSION:
        *_, connection, application = HEADER.unpack_from(data)
        middle = HEADER_SIZE + connection
        end = middle + application
        if end > len(data):
            break
        frames.append((data[:16], data[HEADER_SIZE:middle], data[middle:end]))
        data = data[end:]
    return frames, data


def _joined(parts: _Parts) -> bytes:
    header, connection, application = parts
    sizes = len(connection).to_bytes(4, "big") + len(application).to_bytes(4, "big")
    return header + sizes + connection + application


def _with_member(connection: bytes, random: Random) -> bytes:
    """Give a member of a JSON object another value."""
    try:
        members = json.loads(connection)
        name = random.choice([*members])
    except (ValueError, TypeError, IndexError, KeyError, RecursionError):
        return wild_connection(random, is_response=False)
    if not isinstance(members, dict):
        return wild_connection(random, is_response=False)
    others = {key: json.dumps(value) for key, value in members.items()}
    others[name] = wild_json(random)
    text = ",".join(f"{json.dumps(key)}:{value}" for key, value in others.items())
    return f"{{{text}}}".encode("utf-8", "surrogatepass")


# ---------------------------------------------------------------------- values

_JSON_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+0-9.eE]+|[a-z]+|[\[\]{},:]')
_SERIALIZE_TOKENS: Final = re.compile(rb"[^|^$@*#\]]+|[|^$@*#\]]")
_SERIALIZE_WILD: Final = (
    *(b"|", b"^", b"$", b"@", b"*", b"#", b"]", b"0", b"1", b"-1", b"-5", b"-6", b"ZZZZZZZZZZZZ"),
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"%25", b"%7C", b"%", b"+", b"__proto__"),
    *(b"message", b"stack", b"0|1|2|3", b"^^^^", b"\xff", b"\xed\xa0\x80", b"00000", b"-0", b".5"),
)


def mutate_connection(data: bytes, random: Random, noise: Noise) -> bytes:
    """Change a connection object behind a byte of options."""
    options, connection = data[:1] or b"\0", data[1:]
    match random.randrange(4):
        case 0:
            return noise(data)
        case 1:
            return options + _with_member(connection, random)
        case 2:
            return options + _with_token(connection, _JSON_TOKENS, wild_json(random), random)
        case _:
            is_response = bool(options[0] & 1)
            return options + wild_connection(random, is_response=is_response)


def mutate_json(data: bytes, random: Random, noise: Noise, *, prefix: int = 0) -> bytes:
    """Change JSON text behind *prefix* bytes of options."""
    if random.randrange(3) == 0:
        return noise(data)
    text = wild_json(random)
    if random.randrange(8) == 0:
        return data[:prefix].ljust(prefix, b"\0") + text.encode("utf-8", "surrogatepass")
    return data[:prefix] + _with_token(data[prefix:], _JSON_TOKENS, text, random)


def mutate_serialize_json(data: bytes, random: Random, noise: Noise) -> bytes:
    """Change a document of serialize-json."""
    if random.randrange(3) == 0:
        return noise(data)
    token = random.choice(_SERIALIZE_WILD).decode("latin-1")
    return _with_token(data, _SERIALIZE_TOKENS, token, random, "latin-1")


def mutate_msgpack(data: bytes, random: Random, noise: Noise, *, prefix: int = 0) -> bytes:
    """Change msgpack behind *prefix* bytes of options."""
    body = data[prefix:]
    match random.randrange(5):
        case 0 | 1:
            return noise(data)
        case 2:
            return data[:prefix].ljust(prefix, b"\0") + wild_msgpack(random)
        case 3:
            place = random.randrange(len(body) + 1)
            end = min(len(body), place + random.randrange(6))
            return data[:prefix] + body[:place] + wild_msgpack(random) + body[end:]
        case _:
            return data[:prefix] + bytes([0x91]) + body


def mutate_failure(data: bytes, random: Random, noise: Noise) -> bytes:
    """Change an error behind a byte of options."""
    if random.randrange(2):
        return mutate_msgpack(data, random, noise, prefix=1)
    return (data[:1] or b"\0") + wild_failure(random)


def _with_token(
    data: bytes, tokens: re.Pattern[bytes], new: str, random: Random, encoding: str = "utf-8"
) -> bytes:
    """Put *new* in the place of a token, or beside one."""
    text = new.encode(encoding, "surrogatepass")
    places = [match.span() for match in tokens.finditer(data)]
    if not places:
        return text
    begin, end = random.choice(places)
    match random.randrange(3):
        case 0:
            return data[:begin] + text + data[end:]
        case 1:
            return data[:end] + text + data[end:]
        case _:
            return data[:begin] + data[end:]
