"""Registrations: what is subscribed to or published, and the keys they are known by (SPEC 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias, cast

from cluster_client.errors import EncodeError
from cluster_client.limits import DEFAULTS
from cluster_protocol import Json, UnencodableValueError
from cluster_protocol.codecs import JsonCodec, inexact_integer, json_text

_KEY_PREFIX: Final = "$$inner$$__"
_EVENTS_PREFIX: Final = "$$events$$__"
_json_codec: Final = lru_cache(lambda max_depth: JsonCodec(max_depth=max_depth))

MAX_REGISTRATION: Final = 256 << 10
"""Bytes of a registration and its key; with all escapes they fit a connection object."""


Reg: TypeAlias = Mapping[str, Any] | Sequence[Any] | str | float | bool | None
"""What users may pass as a registration. Covariant, unlike `Json`: a ``dict[str, str]`` is one."""


class Registration(NamedTuple):
    """A registration that has been checked.

    Attributes:
        reg: A copy of what the user gave; nobody may change it.
        key: Under which it travels: in JavaScript's spelling, as a Node leader answers under the
            key that it makes itself.
        identity: Equal for registrations that mean the same, whatever the order of their keys.
        events: Whether each value counts, and not just the latest. Such a subscription has a key
            of its own (SPEC 6.10).
    """

    reg: Json
    key: str
    identity: str
    events: bool = False

    @property
    def for_events(self) -> Registration:
        """The same, for a subscription to its events."""
        return self._replace(key=_EVENTS_PREFIX + self._text, events=True)

    @property
    def for_state(self) -> Registration:
        """The same, for a subscription to its state."""
        return self._replace(key=_KEY_PREFIX + self._text, events=False)

    @property
    def _text(self) -> str:
        return self.key.removeprefix(_EVENTS_PREFIX if self.events else _KEY_PREFIX)


def check_registration(
    reg: Reg,
    format_key: Callable[[Json], str] | None = None,
    max_depth: int = DEFAULTS.depth,
) -> Registration:
    """Check what a user gave and make its keys.

    Args:
        reg: Plain JSON with string keys.
        format_key: The option of that name.
        max_depth: How deeply it may nest.

    Raises:
        EncodeError: If *reg* is not plain JSON, or too deep, or *format_key* fails.
    """
    try:
        codec = _json_codec(max_depth)
        copy = cast("Json", codec.decode(codec.encode(reg)))
    except UnencodableValueError as exc:
        raise EncodeError(f"a registration must be plain JSON: {exc}") from exc
    text = json_text(copy)
    key = text if format_key is None else _key(format_key, "format_key", copy)
    size = len(text.encode()) + len(key.encode())
    if size > MAX_REGISTRATION:
        raise EncodeError(
            f"a registration of {size} bytes, together with its key; the limit is "
            f"{MAX_REGISTRATION}: give less, or a format_key that makes shorter keys"
        )
    identity = json_text(copy, sort_keys=True) if format_key is None else key
    return Registration(copy, _KEY_PREFIX + key, identity)


def check_for_node(registration: Registration) -> None:
    """Check that a Node leader understands the registration as it was meant.

    Raises:
        EncodeError: If there is an integer in it that JavaScript would round.
    """
    path = inexact_integer(registration.reg)
    if path is not None:
        raise EncodeError(
            f"a registration for a Node leader: JavaScript would round the integer {path}; its "
            f"numbers are exact up to 2**53: send it as a str"
        )


def publication_key(reg: Json, publish_key: Callable[[Json], str] | None) -> str:
    """Return the key by which a later sticky publication replaces an earlier one.

    Raises:
        EncodeError: If *publish_key* fails.
    """
    if publish_key is None:
        return json_text(reg, sort_keys=True)
    return _key(publish_key, "publish_key", reg)


def _key(function: Callable[[Json], str], name: str, reg: Json) -> str:
    """Call a user's function that makes a key."""
    try:
        key = function(reg)
    except Exception as exc:
        raise EncodeError(f"{name} failed for {reg!r}: {exc!r}") from exc
    if not isinstance(key, str) or not _is_text(key):
        raise EncodeError(f"{name} must return a str, it gave {key!r} for {reg!r}")
    return key


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True
