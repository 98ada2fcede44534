"""What two of our peers agree on, inside Node's register messages (SPEC section 5).

Node ignores members that it doesn't know, so the offer is invisible to it, and
a register response without an agreement comes from Node.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from cluster_protocol._members import JsonObject, Members
from cluster_protocol.errors import RemoteProtocolError

__all__ = ["FEATURES", "Agreement", "Offer", "negotiate"]

PACKED: Final = "packed"
CANCEL: Final = "cancel"
GOODBYE: Final = "goodbye"
SUBSCRIBE_ACK: Final = "subscribe_ack"
STREAM: Final = "stream"
REAL_CLIENT_STATE: Final = "real_client_state"
SNAPSHOT: Final = "snapshot"
VALUES_TAKEN: Final = "values_taken"
EVENTS: Final = "events"
FEATURES: Final = frozenset(
    {
        *(PACKED, CANCEL, GOODBYE, SUBSCRIBE_ACK, STREAM, REAL_CLIENT_STATE, SNAPSHOT),
        *(VALUES_TAKEN, EVENTS),
    }
)
"""What this version can do beyond Node's protocol."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a follower can do, sent when it registers (SPEC 5.1).

    Attributes:
        codecs: Names of its codecs, the preferred one first.
        features: Names of its extensions.
        pid: Its process.
        channels: Every channel that its process could lead on this port.
        nonce: If it knows a secret, its nonce for the handshake (SPEC 5.5).
        class_name: Of its real client's class (SPEC 5.6).
        identity: Fingerprint of what its real client is configured with, if it says so.
    """

    codecs: tuple[str, ...]
    features: frozenset[str]
    pid: int
    channels: tuple[str, ...] = ()
    nonce: str | None = None
    class_name: str | None = None
    identity: str | None = None

    def to_json(self) -> JsonObject:
        """Return the ``offer`` member of the register message."""
        members: JsonObject = {
            "codecs": list(self.codecs),
            "features": [*sorted(self.features)],
            "pid": self.pid,
            "channels": list(self.channels),
        }
        optional = {"nonce": self.nonce, "class": self.class_name, "identity": self.identity}
        members.update({name: text for name, text in optional.items() if text is not None})
        return members

    @classmethod
    def decode(cls, members: Members) -> Offer:
        """Read the member again.

        Raises:
            RemoteProtocolError: If a part of it is missing or of the wrong kind.
        """
        return cls(
            codecs=members.texts("codecs"),
            features=frozenset(members.texts("features")),
            pid=members.count("pid"),
            channels=members.texts("channels"),
            nonce=members.optional_text("nonce"),
            class_name=members.optional_text("class"),
            identity=members.optional_text("identity"),
        )


@dataclass(frozen=True, slots=True)
class Agreement:
    """What holds on one link, chosen by the leader (SPEC 5.2).

    Attributes:
        codec: Name of the codec of all application objects.
        features: Extensions that both sides have.
        epoch: Names this leadership; another one has another name.
        pid: The leader's process.
        proof: That the leader knows the secret, if the follower has proven it (SPEC 5.5).
    """

    codec: str
    features: frozenset[str]
    epoch: str
    pid: int
    proof: str | None = None

    def to_json(self) -> JsonObject:
        """Return the ``agreement`` member of the register response."""
        members: JsonObject = {
            "codec": self.codec,
            "features": [*sorted(self.features)],
            "epoch": self.epoch,
            "pid": self.pid,
        }
        if self.proof is not None:
            members["proof"] = self.proof
        return members

    @classmethod
    def decode(cls, members: Members) -> Agreement:
        """Read the member again.

        Raises:
            RemoteProtocolError: If a part of it is missing or of the wrong kind.
        """
        return cls(
            codec=members.text("codec"),
            features=frozenset(members.texts("features")),
            epoch=members.text("epoch"),
            pid=members.count("pid"),
            proof=members.optional_text("proof"),
        )


def negotiate(
    offer: Offer,
    *,
    codecs: Sequence[str],
    features: Collection[str] = FEATURES,
    epoch: str,
    pid: int,
    proof: str | None = None,
) -> Agreement:
    """Choose for the leader: the follower's most preferred codec that both have.

    Args:
        offer: What the follower sent.
        codecs: Names of the leader's codecs.
        features: The leader's extensions.
        epoch: Name of the leadership.
        pid: The leader's process.
        proof: The leader's, of the handshake.

    Raises:
        RemoteProtocolError: If there is no common codec.
    """
    for codec in offer.codecs:
        if codec in codecs:
            return Agreement(codec, offer.features & frozenset(features), epoch, pid, proof)
    raise RemoteProtocolError(
        f"no common codec: process {offer.pid} offers {', '.join(offer.codecs) or 'none'}, "
        f"process {pid} has {', '.join(codecs)}"
    )
