"""Who may be a peer: the user of its process, and what it knows (SPEC sections 5.5 and 12)."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import Final

from cluster_client._backend import Transport
from cluster_client._endpoints import Endpoint, endpoint_name
from cluster_client.errors import AuthenticationError
from cluster_client.options import ClientOptions
from cluster_protocol import NONCE_SIZE, Handshake, is_equal

__all__ = ["Access", "new_nonce"]

_SECRET_WANTED: Final = "a secret is wanted (the option secret, or CLUSTER_CLIENT_SECRET)"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Access:
    """What one client asks of its peers, be they leaders or followers.

    Attributes:
        endpoint: Where the race is.
        allow_uids: Users besides the own one; ``None`` for all.
        secret: What they must know; ``None`` for nothing.
    """

    endpoint: Endpoint
    allow_uids: frozenset[int] | None = frozenset()
    secret: bytes | None = None

    @classmethod
    def of(cls, options: ClientOptions) -> Access:
        secret = options.secret
        allowed = options.allow_uids
        return cls(
            options.endpoint,
            None if allowed is None else frozenset(allowed),
            secret.encode(errors="surrogateescape") if isinstance(secret, str) else secret,
        )

    def check_user(self, peer: Transport) -> None:
        """Check whose process is at the other end; something must have come from it.

        Raises:
            AuthenticationError: If it is another user's.
            ConnectionError: If it has gone.
        """
        if self.allow_uids is None:
            return
        own = os.geteuid() if hasattr(os, "geteuid") else None
        try:
            uid = peer.peer_uid()
        except LookupError as exc:
            raise AuthenticationError(self.endpoint, f"the peer is refused: {exc}") from exc
        if uid is not None and uid != own and uid not in self.allow_uids:
            raise AuthenticationError(
                self.endpoint,
                f"the peer is a process of user {uid}, and only those of user {own} are allowed; "
                f"allow_uids=[{uid}] would allow it",
            )

    # -------------------------------------------------------- for the leader

    def check_proof(self, handshake: Handshake, proof: str) -> str:
        """Check a follower's proof and return the leader's.

        Raises:
            AuthenticationError: If it was made with another secret, or for another place.
        """
        if self.secret is None:
            raise AssertionError("nothing was to be proven")
        if not is_equal(proof, handshake.follower_proof(self.secret)):
            raise AuthenticationError(self.endpoint, "leader and follower have different secrets")
        return handshake.leader_proof(self.secret)

    def no_secret(self) -> AuthenticationError:
        """Return the error for a follower that did not offer to prove anything."""
        return AuthenticationError(self.endpoint, _SECRET_WANTED)

    # ------------------------------------------------------ for the follower

    def handshake(self, follower_nonce: str, leader_nonce: str, channel: str) -> Handshake:
        return Handshake(follower_nonce, leader_nonce, channel, endpoint_name(self.endpoint))

    def prove(self, handshake: Handshake) -> str:
        """Return the follower's proof.

        Raises:
            AuthenticationError: If the leader wants one, and there is no secret.
        """
        if self.secret is None:
            raise self.no_secret()
        return handshake.follower_proof(self.secret)

    def check_leader(self, handshake: Handshake | None, proof: str | None) -> None:
        """Check that a leader that accepted us has proven that it knows the secret.

        Raises:
            AuthenticationError: If it has not, or with another secret.
        """
        if self.secret is None:
            return
        if handshake is None or proof is None:
            raise AuthenticationError(
                self.endpoint, "the leader has not shown that it knows the secret: it has none"
            )
        if not is_equal(proof, handshake.leader_proof(self.secret)):
            raise AuthenticationError(self.endpoint, "leader and follower have different secrets")


def new_nonce() -> str:
    """Return a nonce that was never used before."""
    return secrets.token_hex(NONCE_SIZE)
