"""Errors as they travel (SPEC 4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster_protocol.errors import RemoteProtocolError

__all__ = ["Failure", "decode_registration_outcome", "encode_registration_outcome"]


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception of another process.

    Attributes:
        name: Its class's name, without the module.
        message: Its text.
        code: Its ``code`` attribute, where there was one; Node's errors have it often.
        stack: Its traceback as text.
        args: Its ``args``, as far as the codec carries them; ``None`` if not told.
        fields: Its other attributes, as far as the codec carries them.
        module: Of its class; empty from a Node process.
    """

    name: str
    message: str
    code: object = None
    stack: str = ""
    args: tuple[object, ...] | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    module: str = ""

    def to_value(self) -> dict[str, object]:
        """Return what the codec is to encode; the first four members are Node's."""
        value = self.to_node_value()
        if self.module:
            value["module"] = self.module
        if self.args is not None:
            value["args"] = list(self.args)
        if self.fields:
            value["fields"] = dict(self.fields)
        return value

    def texts_only(self) -> Failure:
        """Return what is left where all of it is too large to be sent."""
        return Failure(self.name, self.message, stack=self.stack, module=self.module)

    def to_node_value(self) -> dict[str, object]:
        """Return the members that Node knows, in its order."""
        value: dict[str, object] = {
            "stack": self.stack,
            "name": self.name,
            "message": self.message,
        }
        if self.code is not None:
            value["code"] = self.code
        return value

    @classmethod
    def from_value(cls, value: object) -> Failure:
        """Read what the codec decoded. Missing members get a stand-in: Node's are often sparse.

        Raises:
            RemoteProtocolError: If it is not a mapping, or a text in it cannot be shown.
        """
        if not isinstance(value, Mapping):
            raise RemoteProtocolError(f"an error must be a mapping, got {type(value).__name__}")
        args, fields = value.get("args"), value.get("fields")
        try:
            return cls(
                name=str(value.get("name") or "Error"),
                message=str(value.get("message") or ""),
                code=value.get("code"),
                module=str(value.get("module") or ""),
                stack=str(value.get("stack") or ""),
                args=tuple(args) if isinstance(args, (list, tuple)) else None,
                fields=(
                    {str(k): v for k, v in fields.items()} if isinstance(fields, Mapping) else {}
                ),
            )
        # A hostile peer's "text" can be an int of 5,000 digits or a list 1,000 levels deep.
        except (ValueError, RecursionError) as exc:
            raise RemoteProtocolError(f"an error's text cannot be shown: {exc}") from exc


def encode_registration_outcome(
    failure: Failure | None, *, for_node: bool = False
) -> dict[str, object]:
    """Return the value beside a `RegisterChannelResult` (SPEC 3.1).

    Args:
        failure: Why the real client did not start; ``None`` if it did.
        for_node: Whether the follower is a Node peer.
    """
    if failure is None:
        return {"success": True}
    error = failure.to_node_value() if for_node else failure.to_value()
    return {"success": False, "error": error}


def decode_registration_outcome(value: object) -> Failure | None:
    """Return the failure that the leader reports, or ``None`` for success (SPEC 3.1).

    Raises:
        RemoteProtocolError: If it is not a mapping with a boolean ``success``.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("success"), bool):
        raise RemoteProtocolError(
            f"a registration's outcome needs a boolean 'success', got {type(value).__name__}"
        )
    return None if value["success"] else Failure.from_value(value.get("error") or {})
