"""JSON types, and reading members of a peer's JSON object."""

from __future__ import annotations

import json
import math
import re
from typing import Final, NoReturn, TypeAlias

from cluster_protocol.errors import RemoteProtocolError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]


def parse_json(text: bytes) -> object:
    """Return the value of JSON text in UTF-8.

    Stricter than `json.loads`, which also takes NaN, numbers beyond all doubles, a byte order mark,
    UTF-16, and lone surrogates: what it gave could not be sent again.

    Raises:
        ValueError: If *text* is not JSON in UTF-8.
        RecursionError: If it is nested too deeply.
    """
    string = text.decode()
    value: object = _DECODER.decode(string)
    if "\\u" in string and _SURROGATE.search(string):
        # Pairs are well. To write the value tells, and is done in C.
        json.dumps(value, ensure_ascii=False).encode()
    return value


_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:80]} is beyond all doubles")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


class Members:
    """Reads the members of a connection object, and complains in one way."""

    def __init__(self, owner: str, members: JsonObject) -> None:
        self._owner = owner
        self._members = members

    def _wrong(self, name: str, expected: str) -> RemoteProtocolError:
        found = repr(self._members[name])[:80] if name in self._members else "nothing"
        return RemoteProtocolError(f"{self._owner}: {name!r} must be {expected}, got {found}")

    def text(self, name: str, default: str | None = None) -> str:
        value = self._members.get(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def optional_text(self, name: str) -> str | None:
        return None if self._members.get(name) is None else self.text(name)

    def count(self, name: str) -> int:
        value = self._members.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._wrong(name, "an integer of 0 or more")
        return value

    def optional_count(self, name: str) -> int | None:
        return None if self._members.get(name) is None else self.count(name)

    def flag(self, name: str, default: bool | None = None) -> bool:
        value = self._members.get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def any(self, name: str) -> Json:
        if name not in self._members:
            raise self._wrong(name, "there")
        return self._members[name]

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._members.get(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list of strings")
        texts = tuple(item for item in value if isinstance(item, str))
        if len(texts) != len(value):
            raise self._wrong(name, "a list of strings")
        return texts

    def optional_object(self, name: str) -> Members | None:
        value = self._members.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._wrong(name, "an object")
        return Members(f"{self._owner}.{name}", value)
