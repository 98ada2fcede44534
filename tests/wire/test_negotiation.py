"""What two of our peers agree on (SPEC section 5)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_protocol import (
    CANCEL,
    EVENTS,
    FEATURES,
    GOODBYE,
    PACKED,
    REAL_CLIENT_STATE,
    SNAPSHOT,
    STREAM,
    SUBSCRIBE_ACK,
    VALUES_TAKEN,
    Agreement,
    JsonObject,
    Offer,
    RegisterChannel,
    RegisterChannelResult,
    RemoteProtocolError,
    decode_message,
    negotiate,
)

from ._vectors import Vector, load, parametrize

OFFER = Offer(("msgpack", "json"), frozenset({PACKED, CANCEL}), 4711, ("Registry", "Tokens"))
AGREEMENT = Agreement("msgpack", frozenset({PACKED}), "4712-1f", 4712)


def through_json(members: Mapping[str, object]) -> JsonObject:
    return cast("JsonObject", json.loads(json.dumps(members)))


def agree(offer: Offer, *codecs: str, features: frozenset[str] = FEATURES) -> Agreement:
    return negotiate(offer, codecs=codecs, features=features, epoch="e1", pid=4712)


# -------------------------------------------------------------------- choosing


def test_the_followers_preferred_codec_wins() -> None:
    assert agree(OFFER, "json", "msgpack").codec == "msgpack"
    assert agree(Offer(("json", "msgpack"), frozenset(), 1), "msgpack", "json").codec == "json"


def test_codecs_that_the_leader_lacks_are_passed_over() -> None:
    assert agree(OFFER, "json").codec == "json"
    assert agree(Offer(("cbor", "json"), frozenset(), 1), "msgpack", "json").codec == "json"


@pytest.mark.parametrize(
    ("offered", "there", "text"),
    [
        (("cbor", "bson"), ("json",), "process 4711 offers cbor, bson, process 4712 has json"),
        ((), ("json", "msgpack"), "process 4711 offers none, process 4712 has json, msgpack"),
    ],
)
def test_without_a_common_codec_nothing_is_agreed(
    offered: tuple[str, ...], there: tuple[str, ...], text: str
) -> None:
    with pytest.raises(RemoteProtocolError, match=f"^no common codec: {text}$"):
        agree(Offer(offered, FEATURES, 4711), *there)


def test_a_feature_holds_if_both_have_it() -> None:
    offer = Offer(("json",), frozenset({PACKED, CANCEL, "later"}), 1)

    assert agree(offer, "json", features=frozenset({CANCEL, GOODBYE})).features == {CANCEL}


def test_a_leader_has_all_our_features_unless_told() -> None:
    agreement = negotiate(
        Offer(("json",), frozenset({*FEATURES, "later"}), 1), codecs=["json"], epoch="e", pid=2
    )

    assert agreement.features == FEATURES


def test_features_have_fixed_names() -> None:
    names = ["packed", "cancel", "goodbye", "subscribe_ack", "stream"]
    names += ["real_client_state", "snapshot", "values_taken", "events"]

    features = [PACKED, CANCEL, GOODBYE, SUBSCRIBE_ACK, STREAM]
    features += [REAL_CLIENT_STATE, SNAPSHOT, VALUES_TAKEN, EVENTS]

    assert features == names
    assert set(features) == FEATURES


def test_the_agreement_names_the_leadership_and_its_process() -> None:
    assert agree(OFFER, "json") == Agreement("json", frozenset({PACKED, CANCEL}), "e1", 4712)


names = st.sampled_from(["msgpack", "json", "cbor", "serialize-json"])


@given(
    offered=st.lists(names, unique=True),
    there=st.lists(names, unique=True),
    follower=st.frozensets(st.text(max_size=3)),
    leader=st.frozensets(st.text(max_size=3)),
)
def test_an_agreement_is_within_what_both_have(
    offered: list[str], there: list[str], follower: frozenset[str], leader: frozenset[str]
) -> None:
    offer = Offer(tuple(offered), follower, 1)
    if not set(offered) & set(there):
        with pytest.raises(RemoteProtocolError):
            agree(offer, *there, features=leader)
        return
    agreement = agree(offer, *there, features=leader)

    assert agreement.features == follower & leader
    better = offered[: offered.index(agreement.codec)]
    assert agreement.codec in there
    assert not set(better) & set(there)


# --------------------------------------------------------------------- as JSON


def test_an_offer_is_plain_json_in_a_fixed_order() -> None:
    assert json.dumps(OFFER.to_json()) == (
        '{"codecs": ["msgpack", "json"], "features": ["cancel", "packed"], "pid": 4711, '
        '"channels": ["Registry", "Tokens"]}'
    )


def test_an_agreement_is_plain_json_in_a_fixed_order() -> None:
    assert json.dumps(AGREEMENT.to_json()) == (
        '{"codec": "msgpack", "features": ["packed"], "epoch": "4712-1f", "pid": 4712}'
    )


def offer_from(members: JsonObject | None) -> Offer | None:
    """Read an offer where it travels, in the register message."""
    connection = {"type": "register_channel", "channelName": "R", "offer": members}
    message = decode_message(json.dumps(connection).encode(), is_response=False)
    assert isinstance(message, RegisterChannel)
    return message.offer


def agreement_from(members: JsonObject | None) -> Agreement | None:
    connection = {"type": "register_channel_res", "agreement": members}
    message = decode_message(json.dumps(connection).encode(), is_response=True)
    assert isinstance(message, RegisterChannelResult)
    return message.agreement


def test_offer_and_agreement_are_read_as_they_were_written() -> None:
    assert offer_from(through_json(OFFER.to_json())) == OFFER
    assert agreement_from(through_json(AGREEMENT.to_json())) == AGREEMENT


def test_none_of_them_comes_from_node() -> None:
    assert offer_from(None) is None
    assert agreement_from(None) is None


def test_a_later_versions_members_are_ignored() -> None:
    assert offer_from({**OFFER.to_json(), "auth": ["hmac"]}) == OFFER
    assert agreement_from({**AGREEMENT.to_json(), "auth": "hmac"}) == AGREEMENT


def test_a_feature_named_twice_is_one() -> None:
    offer = offer_from({**OFFER.to_json(), "features": [PACKED, PACKED, CANCEL]})

    assert offer == OFFER


@pytest.mark.parametrize("member", ["codecs", "features", "pid", "channels"])
@pytest.mark.parametrize("wrong", [None, "x", -1, 1.5, [1], {}])
def test_an_offer_with_a_wrong_member_is_refused(member: str, wrong: str | float | None) -> None:
    with pytest.raises(RemoteProtocolError, match=rf"^register_channel\.offer: '{member}' must be"):
        offer_from({**OFFER.to_json(), member: wrong})


@pytest.mark.parametrize("member", ["codec", "features", "epoch", "pid"])
@pytest.mark.parametrize("wrong", [None, True, -1, 1.5, [1], {}])
def test_an_agreement_with_a_wrong_member_is_refused(
    member: str, wrong: bool | float | None
) -> None:
    with pytest.raises(RemoteProtocolError, match=f"agreement: '{member}' must be"):
        agreement_from({**AGREEMENT.to_json(), member: wrong})


@parametrize([v for v in load("frames.json") if v["fields"].get("offer")])
def test_an_offers_vector_holds_in_both_directions(vector: Vector) -> None:
    fields = vector["fields"]["offer"]
    # The vectors have our names for the fields, and one of them is a keyword.
    members = {"class" if name == "class_name" else name: v for name, v in fields.items()}
    offer = offer_from(members)

    assert offer is not None
    assert offer.to_json() == members


@parametrize([v for v in load("frames.json") if v["fields"].get("agreement")])
def test_an_agreements_vector_holds_in_both_directions(vector: Vector) -> None:
    members = vector["fields"]["agreement"]
    agreement = agreement_from(members)

    assert agreement is not None
    assert agreement.to_json() == members
