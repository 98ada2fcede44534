"""Encoding what users give, with errors that they understand."""

from __future__ import annotations

from cluster_client.errors import EncodeError
from cluster_client.limits import DEFAULTS, Limits
from cluster_protocol import UnencodableValueError
from cluster_protocol.codecs import Codec


def encode(codec: Codec, value: object, what: str, limits: Limits = DEFAULTS) -> bytes:
    """Return the codec's bytes of *value*.

    Args:
        codec: What the peers agreed on.
        value: The user's value.
        what: Names it in the error.
        limits: Of the client.

    Raises:
        EncodeError: If it cannot be encoded, or is larger than a frame may be.
            Checked here, as the peer would have to close the link for everybody.
    """
    try:
        data = codec.encode(value)
    except UnencodableValueError as exc:
        raise EncodeError(f"{what}: {exc}") from exc
    except Exception as exc:  # a codec of the user's own that does not keep to the rule
        raise EncodeError(f"{what}: codec {codec.name!r} failed: {exc!r}") from exc
    check_size(len(data), what, limits)
    return data


def check_size(size: int, what: str, limits: Limits = DEFAULTS) -> None:
    """Check that so many bytes fit a frame; arguments are those of `encode`.

    Raises:
        EncodeError: If they don't.
    """
    if size > limits.encoded_size:
        raise EncodeError(
            f"{what}: {size} bytes when encoded, the limit is {limits.encoded_size}: send less at "
            f"a time, or raise Limits.frame_size in all processes"
        )
