"""Proofs of a shared secret (SPEC section 5.5)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster_protocol import NONCE_SIZE, Handshake, is_equal

from ._vectors import Vector, each

SECRET = b"0123456789abcdef"
HANDSHAKE = Handshake("00" * NONCE_SIZE, "ff" * NONCE_SIZE, "Registry", "tcp:127.0.0.1:7777")


@each("handshakes.json")
def test_a_vector_is_proven(vector: Vector) -> None:
    secret = bytes.fromhex(vector["secret"])
    names = ("follower_nonce", "leader_nonce", "channel", "endpoint")
    handshake = Handshake(*(vector[name] for name in names))
    assert handshake.follower_proof(secret) == vector["follower_proof"]
    assert handshake.leader_proof(secret) == vector["leader_proof"]


def test_the_proof_of_one_side_is_none_of_the_other() -> None:
    assert HANDSHAKE.follower_proof(SECRET) != HANDSHAKE.leader_proof(SECRET)


@pytest.mark.parametrize(
    "other",
    [
        replace(HANDSHAKE, follower_nonce="11" * NONCE_SIZE),
        replace(HANDSHAKE, leader_nonce="11" * NONCE_SIZE),
        replace(HANDSHAKE, channel="another"),
        replace(HANDSHAKE, endpoint="tcp:127.0.0.1:7778"),
        replace(HANDSHAKE, endpoint="unix:/run/app.sock"),
        Handshake("00", "00" * 29 + "ff" * 2, "Registry", "tcp:127.0.0.1:7777"),
    ],
)
def test_a_proof_is_good_for_one_registration(other: Handshake) -> None:
    assert other.follower_proof(SECRET) != HANDSHAKE.follower_proof(SECRET)
    assert other.leader_proof(SECRET) != HANDSHAKE.leader_proof(SECRET)


def test_another_secret_gives_another_proof() -> None:
    assert HANDSHAKE.follower_proof(SECRET) != HANDSHAKE.follower_proof(SECRET + b"1")


@pytest.mark.parametrize("wrong", ["", "0", "\N{SNOWMAN}", "\ud800"])
def test_what_is_no_proof_is_not_equal_to_one(wrong: str) -> None:
    proof = HANDSHAKE.follower_proof(SECRET)
    assert is_equal(proof, proof)
    assert not is_equal(wrong, proof)
    assert not is_equal(proof[:-1] + "\N{SNOWMAN}", proof)
