"""What a Node peer knows: the connection objects of its protocol, see the README of the wire."""

from __future__ import annotations

from typing import Any, Final

from support.node import NodeWorker

FROM_A_FOLLOWER: Final[list[dict[str, Any]]] = [
    {"type": "register_channel", "channelName": str},
    {"type": "invoke", "method": str, "argLength": int, "oneway": bool},
    {"type": "subscribe", "key": str, "reg": dict},
    {"type": "unSubscribe", "key": str, "reg": dict},
    {"type": "subscribe_result_res"},
    {"type": "heartbeat"},
]
FROM_A_LEADER: Final[list[dict[str, Any]]] = [
    {"type": "register_channel_res"},
    {"type": "invoke_result", "success": bool},
    {"type": "subscribe_result", "key": str},
    {"type": "heartbeat_res"},
]
_RESPONSES: Final = {
    "register_channel_res",
    "invoke_result",
    "subscribe_result_res",
    "heartbeat_res",
}


def types_of(frames: list[dict[str, Any]]) -> set[str]:
    return {frame["connObj"]["type"] for frame in frames}


def assert_known(frames: list[dict[str, Any]], patterns: list[dict[str, Any]]) -> None:
    """Check that there is nothing in the frames that Node's protocol has not."""
    for frame in frames:
        assert any(_fits(frame["connObj"], pattern) for pattern in patterns), frame
        assert frame["isResponse"] == (frame["connObj"]["type"] in _RESPONSES), frame


async def until_received(worker: NodeWorker, types: set[str]) -> None:
    """Wait until there was a frame of each type."""
    while types - types_of(await worker.received()):
        pass  # to ask takes its time


def _fits(connection_object: dict[str, Any], pattern: dict[str, Any]) -> bool:
    def fits_value(value: Any, wanted: Any) -> bool:
        return isinstance(value, wanted) if isinstance(wanted, type) else bool(value == wanted)

    return connection_object.keys() == pattern.keys() and all(
        fits_value(value, pattern[key]) for key, value in connection_object.items()
    )
