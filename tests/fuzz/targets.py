"""The table of targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from fuzz import door, follower, leader, mutation, seeds, values, wire
from fuzz.mutation import Mutator


@dataclass(frozen=True)
class Target:
    """Something that reads what a peer sends.

    Attributes:
        name: What it is called on the command line.
        check: Reads an input; what it raises is a defect.
        seeds: Returns inputs to start from.
        mutate: Changes an input so that it stays nearly valid.
        max_size: Longest input in bytes.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    mutate: Mutator
    max_size: int = 4096


_VALUES: Final = partial(mutation.mutate_msgpack, prefix=0)
_CALLS: Final = partial(mutation.mutate_msgpack, prefix=2)

TARGETS: Final = {
    target.name: target
    for target in (
        Target("decoder", wire.check_decoder, seeds.decoder, mutation.mutate_stream, 1024),
        Target("messages", wire.check_message, seeds.messages, mutation.mutate_connection),
        Target("calls", wire.check_call, seeds.calls, _CALLS),
        Target("msgpack", values.check_msgpack, seeds.msgpack, _VALUES),
        Target("json", values.check_json, seeds.json_texts, mutation.mutate_json),
        Target(
            "serialize-json",
            values.check_serialize_json,
            seeds.serialize_json,
            mutation.mutate_serialize_json,
        ),
        Target("failures", values.check_failure, seeds.failures, mutation.mutate_failure),
        Target("registrations", values.check_registrations, seeds.json_texts, mutation.mutate_json),
        Target("knocking", door.check_knocking, seeds.knocking, mutation.mutate_stream),
        Target("joining", door.check_joining, seeds.joining, mutation.mutate_stream),
        Target("leader", leader.check_leader, seeds.leader, mutation.mutate_stream),
        Target("follower", follower.check_follower, seeds.follower, mutation.mutate_stream),
    )
}
