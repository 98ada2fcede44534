"""Letting a follower in: its user, and the proof that it knows the secret (SPEC 5.5 and 12)."""

from __future__ import annotations

from cluster_client._access import Access, new_nonce
from cluster_client._arrivals import Arrival
from cluster_protocol import (
    Frame,
    RegistrationChallenge,
    RegistrationProof,
    RemoteProtocolError,
    decode_message,
    encode_frame,
)

__all__ = ["admit"]


async def admit(arrival: Arrival, access: Access) -> None:
    """Check that a follower that has registered may be a peer, and keep our proof for it.

    Until then it is a stranger: nothing but its registration and its proof is read.

    Raises:
        AuthenticationError: If it may not.
        ConnectionError: If its process has gone.
        RemoteProtocolError: If it answers with anything but a proof, or goes away.

    Cancellation:
        Safe; the caller closes the connection.
    """
    access.check_user(arrival.transport)
    if access.secret is not None:
        arrival.proof = await _exchange_proofs(arrival, access)
    arrival.admitted_by = access


async def _exchange_proofs(arrival: Arrival, access: Access) -> str:
    nonce = None if arrival.offer is None else arrival.offer.nonce
    if nonce is None:
        raise access.no_secret()
    handshake = access.handshake(nonce, new_nonce(), arrival.channel)
    challenge = RegistrationChallenge(handshake.leader_nonce).encode()
    await arrival.transport.send(encode_frame(Frame(False, 0, 0, challenge)))
    return access.check_proof(handshake, await _receive_proof(arrival))


async def _receive_proof(arrival: Arrival) -> str:
    while (frame := arrival.decoder.next_frame()) is None:
        data = await arrival.transport.receive()
        if not data:
            raise RemoteProtocolError("the follower went away instead of proving anything")
        arrival.decoder.receive_data(data)
    message = decode_message(frame.connection, is_response=frame.is_response)
    if not isinstance(message, RegistrationProof):
        raise RemoteProtocolError(
            f"a proof must follow the registration, got {frame.connection[:80]!r}"
        )
    return message.proof
