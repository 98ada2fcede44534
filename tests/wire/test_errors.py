"""What can go wrong on the wire, and whose fault it is."""

from __future__ import annotations

import copy

import pytest

from cluster_protocol import (
    FrameTooLargeError,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    UnencodableValueError,
)

TOO_LARGE = FrameTooLargeError("application", 21, 20)
UNENCODABLE = UnencodableValueError("json", "value['rows'][3]", "it is of type set")


def test_an_error_is_ours_or_the_peers() -> None:
    assert LocalProtocolError.__bases__ == RemoteProtocolError.__bases__ == (ProtocolError,)
    assert UnencodableValueError.__bases__ == (LocalProtocolError,)
    assert FrameTooLargeError.__bases__ == (RemoteProtocolError,)


def test_errors_carry_their_data() -> None:
    assert (TOO_LARGE.part, TOO_LARGE.size, TOO_LARGE.limit) == ("application", 21, 20)
    assert UNENCODABLE.codec == "json"
    assert UNENCODABLE.path == "value['rows'][3]"
    assert UNENCODABLE.reason == "it is of type set"


def test_errors_say_it_in_words() -> None:
    assert str(TOO_LARGE) == ("the frame announces 21 bytes of application object, the limit is 20")
    assert str(UNENCODABLE) == (
        "value['rows'][3] cannot be encoded with codec 'json': it is of type set"
    )


@pytest.mark.parametrize("error", [TOO_LARGE, UNENCODABLE], ids=["too large", "unencodable"])
def test_errors_can_be_copied(error: ProtocolError) -> None:
    """Classes with arguments of their own often cannot, nor be sent to another process."""
    twin = copy.copy(error)

    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)
