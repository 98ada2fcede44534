"""serialize-json: what Node's peers speak to each other (SPEC 4.4)."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any, Final, Self

from cluster_protocol.codecs._depth import DEFAULT_DEPTH, check_max_depth
from cluster_protocol.codecs._javascript import JavaScriptError
from cluster_protocol.codecs._path import find_unencodable, text_flaw, type_flaw
from cluster_protocol.codecs._serialize_json_reader import read
from cluster_protocol.codecs._serialize_json_writer import UnfitError, Writer
from cluster_protocol.codecs._user_types import tell
from cluster_protocol.errors import RemoteProtocolError, UnencodableValueError


class SerializeJsonCodec:
    """serialize-json, byte for byte as the npm package of that name writes it.

    JSON's values, bytes, aware datetimes in whole milliseconds, `JavaScriptError`, UNDEFINED. There
    is one type of numbers, JavaScript's: an integral float arrives as an int.

    Args:
        undefined: What JavaScript's undefined arrives as; UNDEFINED tells it from null.
        max_depth: How deeply values may nest, 1 to 500.
    """

    name: str = "serialize-json"

    def __init__(self, *, undefined: object = None, max_depth: int = DEFAULT_DEPTH) -> None:
        self._undefined = undefined
        self._max_depth = check_max_depth(max_depth)

    def with_max_depth(self, max_depth: int) -> Self:
        """Return the same codec with another limit."""
        other = copy(self)  # a subclass stays what it is
        other._max_depth = check_max_depth(max_depth)  # noqa: SLF001 - its own
        return other

    def encode(self, value: object, /) -> bytes:
        """Return the bytes; see `Codec.encode`."""
        try:
            writer = Writer(self._max_depth)
            writer.walk(value)
            data = writer.finish()
        except Exception as exc:  # code of the values runs in there: a tzinfo may raise anything
            path, reason = _find_culprit(value, self._max_depth) or ("value", tell(exc))
            raise UnencodableValueError(self.name, path, reason) from exc
        # Seldom there, and nearly never as a key: one search is all that others pay for it.
        if _PROTOTYPE.encode() in data:
            culprit = _find_culprit(value, self._max_depth)
            if culprit is not None:
                raise UnencodableValueError(self.name, *culprit)
        return data

    def decode(self, data: bytes, /) -> object:
        """Return the value; see `Codec.decode`."""
        try:
            return read(bytes(data), self._undefined, self._max_depth)
        except ValueError as exc:
            raise RemoteProtocolError(f"not serialize-json: {exc}") from exc


# ------------------------------------------------------------- what is refused

_PROTOTYPE: Final = "__proto__"


def _find_culprit(value: object, max_depth: int) -> tuple[str, str] | None:
    return find_unencodable(_opened(value), _leaf_flaw, _key_flaw, max_depth)


def _leaf_flaw(value: object, _: int) -> str | None:
    if isinstance(value, str):
        return text_flaw(value)
    try:
        Writer().walk(value)
    except UnfitError as exc:
        return str(exc)
    except Exception as exc:  # a memoryview that was released, a tzinfo with a bug
        return f"{type_flaw(value)} and raises {tell(exc)}"
    return None


def _key_flaw(key: object, _: int) -> str | None:
    if not isinstance(key, str):
        return type_flaw(key)
    return "what Node takes for the prototype" if key == _PROTOTYPE else text_flaw(key)


def _opened(part: Any) -> object:
    """Return *part*, or if it may hold a `JavaScriptError` what shows its members as a dict's."""
    if isinstance(part, JavaScriptError):
        part = {"message": part.message, "stack": part.stack, **part.fields}
    if isinstance(part, dict):
        return _OpenedDict(part)
    return _OpenedList(part) if isinstance(part, (list, tuple)) else part


class _OpenedDict(dict[object, object]):
    """A dict whose items are opened only when somebody comes to them: it may contain itself."""

    def items(self) -> Any:
        return [(key, _opened(item)) for key, item in super().items()]


class _OpenedList(list[object]):
    """The same for a list or tuple."""

    def __iter__(self) -> Iterator[object]:
        return map(_opened, super().__iter__())
