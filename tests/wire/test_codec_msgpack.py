"""The codec ``msgpack`` and its extension types (SPEC section 4.1)."""

from __future__ import annotations

import datetime as dt
import gc
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from enum import IntEnum
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_protocol import RemoteProtocolError, UnencodableValueError
from cluster_protocol.codecs import Codec, MsgpackCodec, UserType, UserTypes

from ._culprits import Junk, refusal, tells_the_culprit
from ._values import nested
from ._vectors import TYPES, Vector, each, exactly, load, parametrize, untag

CODEC = MsgpackCodec(TYPES)

understood = parametrize(load("msgpack.json", "values") + load("msgpack.json", "decode_only"))


class Point(NamedTuple):
    x: int
    y: int


class Colour(IntEnum):
    RED = 1


def refused(value: object) -> UnencodableValueError:
    """Return the error of encoding *value*."""
    with pytest.raises(UnencodableValueError) as caught:
        CODEC.encode(value)
    assert caught.value.codec == "msgpack"
    return caught.value


# --------------------------------------------------------------------- vectors


@each("msgpack.json", "values")
def test_a_vector_is_written_byte_for_byte(vector: Vector) -> None:
    assert CODEC.encode(untag(vector["value"])).hex() == vector["hex"]


@understood
def test_a_vector_is_read_as_its_value(vector: Vector) -> None:
    value = CODEC.decode(bytes.fromhex(vector["hex"]))

    assert exactly(value) == exactly(untag(vector["value"]))


@understood
def test_a_vector_cut_short_is_refused(vector: Vector) -> None:
    data = bytes.fromhex(vector["hex"])
    for size in range(len(data)):
        with pytest.raises(RemoteProtocolError, match=r"^not msgpack: "):
            CODEC.decode(data[:size])


@understood
def test_a_vector_with_another_behind_it_is_refused(vector: Vector) -> None:
    with pytest.raises(RemoteProtocolError, match="extra data"):
        CODEC.decode(bytes.fromhex(vector["hex"]) * 2)


@each("msgpack.json", "invalid")
def test_an_invalid_vector_is_refused(vector: Vector) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^not msgpack: "):
        CODEC.decode(bytes.fromhex(vector["hex"]))


@each("msgpack.json", "invalid")
def test_an_invalid_vector_is_refused_inside_of_a_value_too(vector: Vector) -> None:
    with pytest.raises(RemoteProtocolError):
        CODEC.decode(b"\x81\xa1k" + bytes.fromhex(vector["hex"]))


def test_every_extension_has_vectors() -> None:
    names = {vector["name"].partition(":")[0] for vector in load("msgpack.json", "values")}

    assert {f"extension {code}" for code in range(1, 10)} <= names


# ----------------------------------------------------------------------- rules


def test_it_is_a_codec_named_msgpack() -> None:
    codec: Codec = CODEC

    assert isinstance(codec, Codec)
    assert codec.name == "msgpack"


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        ((1, (2, [(3,)])), [1, [2, [[3]]]]),
        ({"a": (1,)}, {"a": [1]}),
        (Point(1, 2), [1, 2]),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (Colour.RED, 1),
    ],
    ids=["tuple", "tuple in a dict", "namedtuple", "bytearray", "memoryview", "dict", "enum"],
)
def test_a_kind_of_list_dict_bytes_or_int_arrives_as_that(sent: object, arrived: object) -> None:
    assert exactly(CODEC.decode(CODEC.encode(sent))) == exactly(arrived)


def test_a_datetime_is_not_taken_for_a_date() -> None:
    midnight = dt.datetime(2024, 2, 29)

    assert exactly(CODEC.decode(CODEC.encode(midnight))) == exactly(midnight)


def test_an_aware_datetime_keeps_its_offset_and_not_its_zones_name() -> None:
    zone = dt.timezone(dt.timedelta(hours=5, minutes=30), "IST")

    arrived = CODEC.decode(CODEC.encode(dt.datetime(2024, 1, 1, tzinfo=zone)))

    assert isinstance(arrived, dt.datetime)
    assert arrived.utcoffset() == dt.timedelta(hours=5, minutes=30)
    assert arrived.tzname() == "UTC+05:30"


def test_a_value_arrives_as_a_new_object() -> None:
    value = {"rows": [[1]]}

    arrived = CODEC.decode(CODEC.encode(value))

    assert arrived == value
    assert arrived is not value


def test_lists_as_keys_are_tuples_wherever_they_are() -> None:
    value = {"a": [{(1, (2, 3)): {(): [4]}}], "b": {frozenset([(5,)])}}

    assert exactly(CODEC.decode(CODEC.encode(value))) == exactly(value)


def test_hostile_nesting_is_refused_and_harms_nobody() -> None:
    """Each would end a careless reader: sets of sets take C stack, the rest Python's."""
    sets = b"\x90"
    for _ in range(5000):
        sets = b"\x91\xc9" + len(sets).to_bytes(4, "big") + b"\x08" + sets
    timedeltas = sets.replace(b"\x08", b"\x04")
    for data in (sets, timedeltas, b"\x91" * 100_000, b"\x81" * 100_000, b"\x81" + b"\x91" * 1000):
        with pytest.raises(RemoteProtocolError):
            CODEC.decode(data)


# ------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        (Junk(), "value", f"it is of type {Junk.__module__}.Junk"),
        (1j, "value", "it is of type complex"),
        (dt.time(1), "value", "it is of type datetime.time"),
        (deque([1]), "value", "it is of type collections.deque"),
        ([1, [2, range(3)]], "value[1][1]", "it is of type range"),
        ((0, {"rows": [1, 1j]}), "value[1]['rows'][1]", "it is of type complex"),
        ([1j, Junk()], "value[0]", "it is of type complex"),
        ({"a": 1, (1, "b"): 1j}, "value[(1, 'b')]", "it is of type complex"),
        ({"a": {1j: 1}}, "value['a']", "key 1j is of type complex"),
        ({(1, (1j,)): 1}, "value", "key (1, (1j,)) is a tuple with a part that is of type complex"),
        ([{1j}], "value[0]", "it is a set with a part that is of type complex"),
        (
            [frozenset([(1, "\ud800")])],
            "value[0]",
            "it is a frozenset with a part that is text with a lone surrogate",
        ),
        (["\ud800"], "value[0]", "it is text with a lone surrogate"),
        ({"\ud800": 1}, "value", "key '\\ud800' is text with a lone surrogate"),
        ({"v": memoryview(b"abcd")[::2]}, "value['v']", "it is of type memoryview and raises "),
    ],
)
def test_the_error_tells_the_place_and_the_reason(value: object, path: str, reason: str) -> None:
    error = refused(value)

    assert error.path == path
    assert error.reason.startswith(reason)
    assert str(error) == f"{path} cannot be encoded with codec 'msgpack': {error.reason}"


def test_a_memoryview_that_can_be_read_is_not_the_culprit() -> None:
    assert refused([memoryview(b"ab"), None, b"", {1}, 1j]).path == "value[4]"


def test_a_released_memoryview_is_refused() -> None:
    view = memoryview(b"ab")
    view.release()

    assert refused([view]).path == "value[0]"


def test_a_value_whose_own_code_fails_is_refused() -> None:
    class Broken(dt.tzinfo):
        def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
            raise LookupError("no such zone")

        dst = utcoffset

        def tzname(self, _: dt.datetime | None) -> str:
            return "Broken"

    error = refused({"at": [None, dt.datetime(2024, 1, 1, tzinfo=Broken())]})

    assert error.path == "value['at'][1]"
    assert error.reason.endswith("datetime and raises LookupError: no such zone")


@pytest.mark.parametrize("depth", [100, 510, 1100, 100_000])
def test_a_value_nested_too_deeply_is_refused(depth: int) -> None:
    error = refused({"deep": nested(depth)})

    assert error.path.startswith("value['deep'][0][0]")
    assert len(error.path) < 100
    assert error.reason == "nested deeper than 100 levels, or contains itself"


def test_a_value_that_contains_itself_is_refused() -> None:
    value: dict[str, Any] = {"a": [1]}
    value["a"].append(value)

    assert refused(value).path.startswith("value['a'][1]['a'][1]")


def test_a_deep_value_passes_as_far_as_the_reader_goes() -> None:
    """What is written can be read: there is no depth between the two limits."""
    for depth in range(90, 110):
        with suppress(UnencodableValueError):
            CODEC.decode(CODEC.encode(nested(depth)))


def test_sets_nest_up_to_8_levels() -> None:
    value = frozenset([dt.timedelta(1), 2**70])
    for _ in range(7):
        value = frozenset([value])

    assert CODEC.decode(CODEC.encode([value])) == [value]
    for too_deep in ({value}, frozenset([(1, (value,))])):
        assert refused({"s": [too_deep]}).path == "value['s'][0]"
        assert (
            refused({"s": [too_deep]}).reason
            == "it is a nest of more than 8 sets and registered types"
        )


@pytest.mark.parametrize("depth", [9, 100, 400, 1000, 3000])
def test_sets_nested_deeper_are_refused_at_any_depth(depth: int) -> None:
    value: frozenset[object] = frozenset([Junk()])
    for _ in range(depth):
        value = frozenset([value])

    assert refused([value]).path == "value[0]"
    assert refused({value: 1}).path == "value"


@pytest.mark.parametrize("depth", [100, 400, 2000, 5000])
def test_a_key_nested_too_deeply_is_refused(depth: int) -> None:
    key: tuple[object, ...] = ()
    for _ in range(depth):
        key = (key,)

    error = refused([{key: 1}])

    assert error.path == "value[0]"
    assert error.reason.endswith(" is nested deeper than 100 levels, or contains itself")


def test_a_path_leaves_out_a_key_that_cannot_be_shown() -> None:
    class Silent(int):
        def __repr__(self) -> str:
            raise RuntimeError

    assert refused({10**5000: {Silent(1): [Junk()]}}).path == "value[…][…][0]"


def test_an_overlong_key_is_shown_in_part() -> None:
    assert len(refused({("x" * 1000, Junk()): 1}).reason) < 200


# ------------------------------------------------------------------ properties

zones = st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
hashable_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.floats(allow_nan=False),
    st.text(max_size=6),
    st.binary(max_size=6),
    st.datetimes(timezones=st.none() | zones).map(lambda value: value.replace(fold=0)),
    st.dates(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
)
leaves = hashable_leaves | st.floats() | st.decimals() | st.sampled_from([Decimal("-sNaN7")])


def _keys_of(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
        max_leaves=6,
    )


def _values_of(
    leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves | st.sets(keys, max_size=3) | st.frozensets(keys, max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    )


keys = _keys_of(hashable_leaves)
values = _values_of(leaves, keys)


@given(values)
def test_any_value_comes_out_as_it_went_in(value: object) -> None:
    assert exactly(CODEC.decode(CODEC.encode(value))) == exactly(value)


def almost_msgpack() -> st.SearchStrategy[bytes]:
    """Values with damaged bytes, and extensions with any content."""

    def damage(value: object, place: int, byte: int) -> bytes:
        data = bytearray(CODEC.encode(value))
        data[place % len(data)] = byte
        return bytes(data)

    def extension(code: int, content: bytes) -> bytes:
        return b"\xc7" + bytes([len(content), code]) + content

    codes = st.integers(1, 8) | st.integers(0, 255)
    texts = st.from_regex(r"[-+0-9TZ:.eENaInfs]{0,30}", fullmatch=True).map(str.encode)
    contents = st.binary(max_size=40) | texts | values.map(CODEC.encode).filter(_is_short)
    extensions = st.recursive(
        st.builds(extension, codes, contents),
        lambda inner: st.builds(
            lambda code, head, item: extension(code, (head + item)[:255]),
            codes,
            st.sampled_from([b"", b"\x91", b"\x81", b"\x81\x01", b"\x93\x00\x00"]),
            inner,
        ),
        max_leaves=3,
    )
    damaged = st.builds(damage, values, st.integers(0, 10**6), st.integers(0, 255))
    return damaged | extensions | st.binary()


def _is_short(data: bytes) -> bool:
    return len(data) < 256


@given(almost_msgpack())
def test_any_bytes_are_a_value_or_the_peers_error(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        CODEC.decode(data)


junk = st.builds(Junk) | st.sampled_from([1j, range(3), "\ud800", "a\udfff", dt.time(1)])
JUNK_TYPES = (Junk, complex, range, dt.time)
JUNK_TEXTS = ("\ud800", "a\udfff")
junk_keys = _keys_of(hashable_leaves | junk)


@given(_values_of(leaves | junk, junk_keys).map(lambda value: [value]))
def test_any_junk_is_told_with_a_path_that_leads_to_it(value: list[object]) -> None:
    error = refusal(CODEC, value)
    if error is None:
        assert exactly(CODEC.decode(CODEC.encode(value))) == exactly(value)
    else:
        assert tells_the_culprit(error, value, JUNK_TYPES, JUNK_TEXTS)


def test_a_path_of_unusual_keys_leads_to_the_culprit() -> None:
    uuid = UUID(int=7)
    day = dt.date(2024, 2, 29)
    value = {uuid: {Decimal("1.50"): {(day, None): {frozenset([b"\xff"]): {-0.5: [Junk()]}}}}}

    error = refused(value)

    assert error.path == (
        "value[UUID('00000000-0000-0000-0000-000000000007')][Decimal('1.50')]"
        "[(datetime.date(2024, 2, 29), None)][frozenset({b'\\xff'})][-0.5][0]"
    )
    assert tells_the_culprit(error, value, (Junk,))


# ------------------------------------------------------- the garbage collector


@pytest.fixture
def collector() -> Iterator[None]:
    """Put it back to what it was."""
    enabled = gc.isenabled()
    yield
    (gc.enable if enabled else gc.disable)()


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("cut", [0, 1], ids=["whole", "cut"])
@pytest.mark.usefixtures("collector")
def test_a_large_value_leaves_the_garbage_collector_as_it_was(enabled: bool, cut: int) -> None:
    (gc.enable if enabled else gc.disable)()
    codec = MsgpackCodec()
    value = [{"row": number} for number in range(20_000)]
    data = codec.encode(value)
    if cut:
        with pytest.raises(RemoteProtocolError):
            codec.decode(data[:-cut])
    else:
        assert codec.decode(data) == value
    assert gc.isenabled() is enabled


@pytest.mark.usefixtures("collector")
def test_a_large_value_is_decoded_without_it() -> None:
    gc.enable()
    during: list[bool] = []
    probe = UserType("probe", Probe, lambda _: 0, lambda _: during.append(gc.isenabled()))
    codec = MsgpackCodec(UserTypes(probe))
    codec.decode(codec.encode([Probe()]))
    codec.decode(codec.encode([Probe(), bytes(1 << 17)]))
    assert during == [True, False]


class Probe:
    """A registered type."""
