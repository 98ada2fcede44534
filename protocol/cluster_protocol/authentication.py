"""Proofs that both sides of a registration know one secret (SPEC section 5.5)."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from typing import Final

__all__ = ["NONCE_SIZE", "Handshake", "is_equal"]

NONCE_SIZE: Final = 16
"""Bytes of a nonce, which travels as text of twice as many hexadecimal digits."""

_CONTEXT: Final = "cluster-client 1"


@dataclass(frozen=True, slots=True)
class Handshake:
    """What both sides of one registration know, and an eavesdropper does, too.

    Attributes:
        follower_nonce: Chosen at random by the follower, for this registration only.
        leader_nonce: Likewise by the leader.
        channel: What is registered for.
        endpoint: Where, so that no proof is good anywhere else: ``tcp:127.0.0.1:7777`` or
            ``unix:/run/app.sock``.
    """

    follower_nonce: str
    leader_nonce: str
    channel: str
    endpoint: str

    def follower_proof(self, secret: bytes) -> str:
        """Return what only a follower that knows the secret can say."""
        return self._proof("follower", secret)

    def leader_proof(self, secret: bytes) -> str:
        """Return what only a leader that knows the secret can say. Another one: none reflects."""
        return self._proof("leader", secret)

    def _proof(self, side: str, secret: bytes) -> str:
        parts = (
            _CONTEXT,
            side,
            self.follower_nonce,
            self.leader_nonce,
            self.channel,
            self.endpoint,
        )
        return hmac.digest(secret, json.dumps(parts).encode(), "sha256").hex()


def is_equal(proof: str, expected: str) -> bool:
    """Compare two proofs, in a time that does not tell how much of them is equal."""
    return hmac.compare_digest(proof.encode(errors="replace"), expected.encode())
