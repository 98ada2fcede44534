"""The codec ``serialize-json``: what Node's peers speak (SPEC section 4.4).

The vectors were made with the npm package; ``tests/interop`` asks it anew for each run.
"""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict, UserString, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cluster_protocol import RemoteProtocolError, UnencodableValueError
from cluster_protocol.codecs import UNDEFINED, Codec, JavaScriptError, SerializeJsonCodec
from cluster_protocol.codecs._base36 import bytes_text, run

from ._culprits import Junk, refusal, tells_the_culprit
from ._values import nested
from ._vectors import Vector, each, exactly, load, parametrize
from ._vectors import untag as untag_common

CODEC = SerializeJsonCodec()
LOSSLESS = SerializeJsonCodec(undefined=UNDEFINED)

FILE = "serialize_json.json"
written = parametrize(load(FILE, "values") + load(FILE, "encode_only"))
understood = parametrize(load(FILE, "values") + load(FILE, "decode_only"))


class Point(NamedTuple):
    x: int
    y: int


class Colour(IntEnum):
    RED = 1


class Word(StrEnum):
    NONE = ""
    ONE = "a b"


class Other(Enum):
    A = "a"


class Ratio(float):
    """Like numpy's: a subclass with a text of its own."""

    def __repr__(self) -> str:
        return f"Ratio({float(self)})"

    def is_integer(self) -> bool:
        raise AssertionError("a subclass's methods are not called")


@dataclass
class Record:
    x: int = 1


def untag(value: Any) -> Any:
    """Return the value that a vector writes with tags; here there are two more of them."""
    match value:
        case {"$undefined": _}:
            return UNDEFINED
        case {"$error": [message, stack, pairs]}:
            return JavaScriptError(message, stack, untag({"$map": pairs}))
        case {"$map": pairs}:
            return {key: untag(item) for key, item in pairs}
        case {"$tuple": items}:
            return tuple(map(untag, items))
        case list():
            return list(map(untag, value))
        case _:
            return untag_common(value)


def refused(value: object) -> UnencodableValueError:
    """Return the error of encoding *value*."""
    with pytest.raises(UnencodableValueError) as caught:
        CODEC.encode(value)
    assert caught.value.codec == "serialize-json"
    return caught.value


def reason(data: bytes) -> str:
    """Return why decoding *data* is refused."""
    with pytest.raises(RemoteProtocolError, match=r"^not serialize-json: ") as caught:
        CODEC.decode(data)
    assert len(str(caught.value)) < 400
    return str(caught.value)


# --------------------------------------------------------------------- vectors


@written
def test_a_vector_is_written_byte_for_byte(vector: Vector) -> None:
    assert LOSSLESS.encode(untag(vector["value"])).hex() == vector["hex"]


@understood
def test_a_vector_is_read_as_its_value(vector: Vector) -> None:
    value = LOSSLESS.decode(bytes.fromhex(vector["hex"]))

    assert exactly(value) == exactly(untag(vector["value"]))


@understood
def test_a_vector_cut_short_is_another_value_or_refused(vector: Vector) -> None:
    """The structure is last: where it is one index, it may be cut to another one."""
    data = bytes.fromhex(vector["hex"])
    structure = data.rindex(b"^") + 1
    for size in range(len(data)):
        if size <= structure or data.endswith(b"]"):
            reason(data[:size])
        else:
            with suppress(RemoteProtocolError):
                LOSSLESS.decode(data[:size])


@understood
def test_a_vector_with_another_behind_it_is_refused(vector: Vector) -> None:
    assert "it has 9 parts, not 5" in reason(bytes.fromhex(vector["hex"]) * 2)


@each(FILE, "invalid")
def test_an_invalid_vector_is_refused(vector: Vector) -> None:
    reason(bytes.fromhex(vector["hex"]))


def test_vectors_have_names_of_their_own() -> None:
    for part in ("values", "encode_only", "decode_only", "invalid"):
        names = [vector["name"] for vector in load(FILE, part)]
        assert len(set(names)) == len(names)


# ----------------------------------------------------------------------- rules


def test_it_is_a_codec_named_serialize_json() -> None:
    codec: Codec = CODEC

    assert isinstance(codec, Codec)
    assert codec.name == "serialize-json"


def test_undefined_arrives_as_none_unless_something_else_is_wished_for() -> None:
    value = [UNDEFINED, {"a": UNDEFINED}, None]
    data = CODEC.encode(value)

    assert CODEC.decode(data) == [None, {"a": None}, None]
    assert LOSSLESS.decode(data) == value
    assert SerializeJsonCodec(undefined=7).decode(data) == [7, {"a": 7}, None]


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        ((1, (2, [(3,)])), [1, [2, [[3]]]]),
        (Point(1, 2), [1, 2]),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[::2], b"ac"),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (defaultdict(int, a=1), {"a": 1}),
        (OrderedDict({"b": 1, "0": 2}), {"0": 2, "b": 1}),
        ({Word.ONE: Word.ONE}, {"a b": "a b"}),
        (Word.NONE, ""),
        (Colour.RED, 1),
        (Ratio(1.5), 1.5),
        ([Ratio(2.0), Ratio("inf")], [2, float("inf")]),
        (1.0, 1),
        (-0.0, 0),
        (-1e15, -1000000000000000),
        (2.0**60, 2**60),
        ({"b": 1, "10": 2, "a": 3, "9": 4}, {"9": 4, "10": 2, "b": 1, "a": 3}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_kind_of_what_node_has_arrives_as_that(sent: object, arrived: object) -> None:
    assert exactly(CODEC.decode(CODEC.encode(sent))) == exactly(arrived)


def test_a_value_arrives_as_a_new_object() -> None:
    value = {"rows": [[1]]}

    arrived = CODEC.decode(CODEC.encode(value))

    assert arrived == value
    assert arrived is not value


def test_what_is_read_need_not_be_bytes() -> None:
    assert CODEC.decode(memoryview(b"a^^^^0")) == "a"  # type: ignore[arg-type]


def test_a_datetime_arrives_in_utc() -> None:
    zone = dt.timezone(dt.timedelta(hours=5, minutes=30))

    arrived = CODEC.decode(CODEC.encode(dt.datetime(2024, 2, 29, 12, 0, 0, 1000, zone)))

    assert exactly(arrived) == exactly(dt.datetime(2024, 2, 29, 6, 30, 0, 1000, dt.UTC))


@pytest.mark.parametrize(
    "moment",
    [
        dt.datetime.min.replace(tzinfo=dt.UTC),
        dt.datetime.max.replace(microsecond=999_000, tzinfo=dt.UTC),
    ],
)
def test_the_first_and_the_last_moment_are_carried(moment: dt.datetime) -> None:
    assert CODEC.decode(CODEC.encode(moment)) == moment


def test_an_error_whose_message_is_no_text_keeps_it_among_its_fields() -> None:
    error = LOSSLESS.decode(b"message|stack|code^1^^^#0|3|1|-5|2|-4]")

    assert error == JavaScriptError("", "", {"message": 1, "stack": UNDEFINED, "code": ""})
    # Written again, Node makes the same of it: a member that comes twice has its last value.
    again = LOSSLESS.encode(error)
    assert again == b"message|stack|message|stack|code^1^^^#0|-4|1|-4|2|5|3|-5|4|-4]"
    assert LOSSLESS.decode(again) == error


def test_a_key_that_only_node_could_not_read_is_read() -> None:
    assert CODEC.decode(b"__proto__^1^^^$0|1]") == {"__proto__": 1}


def test_a_text_about_prototypes_is_a_text() -> None:
    value = ["__proto__", {"a": "__proto__", "proto": JavaScriptError("__proto__")}]

    assert CODEC.decode(CODEC.encode(value)) == value


# ------------------------------------------------------------- bytes in bulk


@pytest.mark.parametrize("size", [0, 1, 2, 35, 36, 37, 64, 65, 1295, 1296, 1297, 70_000, 140_000])
@pytest.mark.parametrize("before", [0, 1, 35, 36, 1290, 1300])
def test_bytes_of_any_size_behind_any_number_of_entries(size: int, before: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    value = [*["x"] * before, content[:size], 1.5]

    assert CODEC.decode(CODEC.encode(value)) == value


@pytest.mark.parametrize("last", [0, 35, 36, 255])
def test_bytes_in_bulk_end_with_one_digit_or_two(last: int) -> None:
    value = [b"\xff" * 99 + bytes([last]), 5, bytes([last]) * 100, -(2**50), b"\0" * 100]

    assert CODEC.decode(CODEC.encode(value)) == value


def bulk(integers: bytes, indexes: bytes) -> bytes:
    """Return a document of bytes that have these integers, and are these indexes."""
    return b"^%b^^^*%b]" % (integers, indexes)


INDEXES = b"".join(run(0, 100))


@pytest.mark.parametrize(
    "wrong",
    [b"74", b"100", b"1 ", b"\t1", b"1\n", b"-1", b"", b"a", b"1.5", b"7" * 100_000, b"\xff"],
    ids=lambda wrong: repr(wrong[:10]),
)
@pytest.mark.parametrize("place", [0, 50, 99])
def test_one_wrong_integer_among_many_is_found(wrong: bytes, place: int) -> None:
    integers = [b"7"] * 100
    assert CODEC.decode(bulk(b"|".join(integers), INDEXES)) == b"\7" * 100
    integers[place] = wrong

    reason(bulk(b"|".join(integers), INDEXES))


def test_an_integer_that_is_longer_than_all_that_is_looked_at_is_found() -> None:
    reason(bulk(b"|".join([b"1" * 200_000, *[b"7"] * 99_999]), b"".join(run(0, 100_000))))


def test_bytes_with_unusual_digits_are_read_as_node_does() -> None:
    assert CODEC.decode(bulk(b"|".join([b"07"] * 100), INDEXES)) == b"\7" * 100


@pytest.mark.parametrize(
    "indexes",
    [
        INDEXES.replace(b"|1E|", b"|1F|"),
        INDEXES.replace(b"|1E|", b"|01E|"),
        b"|".join(INDEXES.split(b"|")[::-1]),
        b"".join(run(1, 99)) + b"|0",
    ],
)
def test_indexes_need_not_be_consecutive(indexes: bytes) -> None:
    integers = b"|".join([b"7"] * 100)

    assert CODEC.decode(bulk(integers, indexes)) == b"\7" * 100


@pytest.mark.parametrize(
    "indexes",
    [
        INDEXES + b"|",
        b"|" + INDEXES,
        INDEXES.replace(b"|1E|", b"||"),
        INDEXES.replace(b"|1E|", b"|-1|"),
        INDEXES.replace(b"|1E|", b"|-6|"),
        INDEXES.replace(b"|1E|", b"|2S|"),
        b"".join(run(1, 100)),
        b"".join(run(0, 1296)) + b"|",
        b"Z" * 200,
        b"-1" + INDEXES[1:],
        b"\xff" * 200,
    ],
)
def test_wrong_indexes_of_many_bytes_are_found(indexes: bytes) -> None:
    reason(bulk(b"|".join([b"7"] * 100), indexes))


def test_numbers_of_bytes_may_also_be_meant_by_themselves() -> None:
    """Node's encoder writes no entry twice, but its decoder reads that."""
    integers = b"|".join([b"7"] * 100)
    again = b"".join(run(20, 80))

    assert CODEC.decode(b"^%b^^^@*%b]|5]" % (integers, INDEXES)) == [b"\7" * 100, 7]
    assert CODEC.decode(b"^%b^^^@*%b]|*5]]" % (integers, INDEXES)) == [b"\7" * 100, b"\7"]
    assert CODEC.decode(b"^%b^^^@*%b]|*%b]]" % (integers, INDEXES, again)) == [
        b"\7" * 100,
        b"\7" * 80,
    ]


@pytest.mark.parametrize("before", [b"", b"1|", b"|1"])
def test_what_is_behind_an_integer_without_digits_is_not_taken_for_it(before: bytes) -> None:
    count = before.count(b"|") + 1
    integers = b"|".join([before, *[b"7"] * 100])

    reason(b"^%b^^^@0|*%b]]" % (integers, b"".join(run(count, 100))))


# -------------------------------------------------------------------- refusals

ADVICE = "JavaScript's numbers are exact up to 2**53, send it as a str"
AWARE = dt.datetime(2024, 2, 29, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "path", "text"),
    [
        (Junk(), "value", f"it is of type {Junk.__module__}.Junk"),
        ([{1}], "value[0]", "it is of type set"),
        ((0, {"rows": [1, 1j]}), "value[1]['rows'][1]", "it is of type complex"),
        ([1j, {2}], "value[0]", "it is of type complex"),
        ({"a": Decimal("1.5")}, "value['a']", "it is of type decimal.Decimal"),
        ({"a": UUID(int=1)}, "value['a']", "it is of type uuid.UUID"),
        ([dt.date(2024, 1, 1)], "value[0]", "it is of type datetime.date"),
        ([dt.timedelta(1)], "value[0]", "it is of type datetime.timedelta"),
        ([Record()], "value[0]", f"it is of type {Record.__module__}.Record"),
        ([ValueError("x")], "value[0]", "it is of type ValueError"),
        ([range(3)], "value[0]", "it is of type range"),
        ([Other.A], "value[0]", f"it is of type {__name__}.Other"),
        ({"n": 2**53 + 1}, "value['n']", f"it is an int that is no double: {ADVICE}"),
        ([0, -(2**53) - 1], "value[1]", f"it is an int that is no double: {ADVICE}"),
        ([10**400], "value[0]", f"it is an int that is no double: {ADVICE}"),
        ({"a": {1: 2}}, "value['a']", "key 1 is of type int"),
        ({"a": 1, None: 1}, "value", "key None is of type NoneType"),
        ({b"a": 1}, "value", "key b'a' is of type bytes"),
        ({("a",): 1}, "value", "key ('a',) is of type tuple"),
        ({UserString("a"): 1}, "value", "key 'a' is of type collections.UserString"),
        ([{"__proto__": 1}], "value[0]", "key '__proto__' is what Node takes for the prototype"),
        (["a", "\ud800"], "value[1]", "it is text with a lone surrogate"),
        ([{"\ud800": 1}], "value[0]", "key '\\ud800' is text with a lone surrogate"),
        (
            {"at": AWARE.replace(tzinfo=None)},
            "value['at']",
            "it is a datetime without time zone: a Date of Node is a point in time",
        ),
        (
            {"at": AWARE.replace(microsecond=1)},
            "value['at']",
            "it is a datetime with microseconds: round it to milliseconds, as Node has them",
        ),
        (
            [dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=1)))],
            "value[0]",
            "it is a datetime beyond the years 1 to 9999 of UTC",
        ),
        (
            [dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=1)))],
            "value[0]",
            "it is a datetime beyond the years 1 to 9999 of UTC",
        ),
        ([JavaScriptError("\ud800")], "value[0]['message']", "it is text with a lone surrogate"),
        ([JavaScriptError("a", "\ud800")], "value[0]['stack']", "it is text with a lone surrogate"),
        (
            {"e": JavaScriptError("a", fields={"b": [JavaScriptError(fields={"c": [1, 1j]})]})},
            "value['e']['b'][0]['c'][1]",
            "it is of type complex",
        ),
        (
            (JavaScriptError("a", fields={"__proto__": 1}),),
            "value[0]",
            "key '__proto__' is what Node takes for the prototype",
        ),
    ],
)
def test_the_error_tells_the_place_and_the_reason(value: object, path: str, text: str) -> None:
    error = refused(value)

    assert (error.path, error.reason) == (path, text)
    assert str(error) == f"{path} cannot be encoded with codec 'serialize-json': {text}"


def test_a_released_memoryview_is_refused() -> None:
    view = memoryview(b"ab")
    view.release()

    error = refused([b"", bytearray(), memoryview(b"ab"), UNDEFINED, AWARE, 1.5, None, view])

    assert error.path == "value[7]"
    assert error.reason.startswith("it is of type memoryview and raises ValueError: ")


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


def test_a_value_that_only_fails_while_it_is_written_is_refused() -> None:
    class Moody(list[object]):
        calls = 0

        def __iter__(self) -> Any:
            self.calls += 1
            if self.calls == 1:
                raise RuntimeError("not now")
            return super().__iter__()

    error = refused([Moody()])

    assert (error.path, error.reason) == ("value", "RuntimeError: not now")


@pytest.mark.parametrize("depth", [100, 1000, 100_000])
def test_a_value_nested_too_deeply_is_refused(depth: int) -> None:
    error = refused({"deep": nested(depth)})

    assert error.path.startswith("value['deep'][0][0]")
    assert len(error.path) < 100
    assert error.reason == "nested deeper than 100 levels, or contains itself"


def test_errors_in_errors_are_levels_too() -> None:
    value: object = 1
    for _ in range(1000):
        value = JavaScriptError(fields={"e": value})

    assert refused(value).path.startswith("value['e']['e']")


@pytest.mark.parametrize("value", [nested(100), {"a": nested(99)}])
def test_a_value_nested_100_levels_deep_is_sent(value: object) -> None:
    assert CODEC.decode(CODEC.encode(value)) == value


def test_a_value_that_contains_itself_is_refused() -> None:
    value: dict[str, Any] = {"a": [1]}
    value["a"].append(value)

    assert refused(value).path.startswith("value['a'][1]['a'][1]")

    error = JavaScriptError()
    error.fields["me"] = [error]

    assert refused(error).path.startswith("value['me'][0]['me'][0]")


def test_a_path_leaves_out_a_key_that_cannot_be_shown() -> None:
    class Silent(str):
        __slots__ = ()

        def __repr__(self) -> str:
            raise RuntimeError

    assert refused({Silent("a"): [Junk()]}).path == "value[…][0]"


# ------------------------------------------------------- tables among other things


class Liar(str):
    """A key that claims to be any other."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True


ROWS: list[Any] = [{"a": i / 2, "b": f"text {i}", "c": [i, {"d": i}]} for i in range(40)]


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 1.5, b"ab", AWARE], "rows": ROWS, "c": ["x", 2, b"", 2.5, AWARE, *ROWS]},
        [ROWS, "between", ROWS],
        [{"a": [ROWS, 1]}, *ROWS],
        [{**row, "a": ROWS[:32]} for row in ROWS],
        [*({"a": item / 2} for item in range(40)), {"a": -(2**60)}],
        [*({"a": 1} for _ in range(40)), OrderedDict(a=1)],
        [*({"a": 1} for _ in range(40)), {Word.ONE: 1}],
        [*({"a": 1} for _ in range(40)), {Liar("b"): 1}],
    ],
)
def test_lists_are_written_as_tuples_are_which_are_never_taken_for_tables(value: object) -> None:
    assert CODEC.encode(value) == CODEC.encode(with_tuples(value))


def with_tuples(value: Any) -> Any:
    """Return *value* with tuples for lists."""
    match value:
        case list():
            return tuple(map(with_tuples, value))
        case dict():
            return {key: with_tuples(item) for key, item in value.items()}
        case _:
            return value


def test_a_table_that_contains_itself_is_refused() -> None:
    value: list[Any] = [{"a": 1} for _ in range(1000)]
    for row in value:
        row["b"] = value

    assert refused(value).path.startswith("value[0]['b'][0]['b']")


# ------------------------------------------------------------- hostile documents

MANY = 200_000


@pytest.mark.parametrize(
    "data",
    [
        b"^^^^" + b"@" * MANY,
        b"^^^^" + b"@" * MANY + b"]" * MANY,
        b"a^^^^" + b"$0|" * MANY + b"-1" + b"]" * MANY,
        b"message^^^^" + b"#0|" * MANY + b"-1" + b"]" * MANY,
        b"^^^^" + b"]" * MANY,
        b"^^^^" + b"*" * MANY,
        b"^^^^" + b"*]" * MANY,
        b"^^^^" + b"|" * MANY,
        b"^^^^" + b"-" * MANY,
        b"^" * MANY,
        b"\0" * MANY,
        b"a^^^^" + b"Z" * MANY,
        b"a^^^^-" + b"1" * MANY,
        b"^1^^^*" + b"Z" * MANY + b"]",
        b"^^^" + b"Z" * MANY + b"^0",
        b"^" + b"-" * MANY + b"^^^0",
        b"^" + b"Z" * MANY + b"-^^^0",
        b"^^" + b"." * MANY + b"^^0",
        b"^^" + b"e" * MANY + b"^^0",
        b"^^" + b"x" * MANY + b"^^0",
        b"a|" * MANY + b"^^^^0",
        b"^" + b"1|" * MANY + b"1^^^0",
        b"^" + b"|" * MANY + b"^^^@" + b"0|" * MANY + b"0]",
    ],
    ids=lambda data: repr(data[:12]),
)
def test_a_hostile_document_is_refused_and_harms_nobody(data: bytes) -> None:
    """Each would take a careless reader's stack, or time with the square of its size."""
    reason(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"^" + b"Z" * MANY + b"^^^0", float("inf")),
        (b"^-" + b"Z" * MANY + b"^^^0", float("-inf")),
        (b"^" + b"0" * MANY + b"Z^^^0", 35),
        (b"^^" + b"9" * MANY + b"^^0", float("inf")),
        (b"^^0." + b"0" * MANY + b"1^^0", 0.0),
        (b"%7C" * MANY + b"^^^^0", "|" * MANY),
    ],
    ids=lambda data: repr(data)[:12],
)
def test_a_long_number_is_read_in_time(data: bytes, value: object) -> None:
    assert exactly(CODEC.decode(data)) == exactly(value)


def test_many_bytes_that_share_their_numbers_are_read_in_time() -> None:
    integers = b"|".join([b"7"] * 2000)
    document = b"^%b^^^@%b]" % (integers, b"|".join([b"*%b]" % b"".join(run(0, 2000))] * 50))

    assert CODEC.decode(document) == [b"\7" * 2000] * 50


# ------------------------------------------------------------------ properties

KEYS = st.text(max_size=4) | st.sampled_from(["0", "1", "10", "4294967294", "4294967295", "01", ""])
TEXTS = st.text(max_size=8) | st.text("+ |^%2BC57E$@*#]", max_size=8)
EXACT = st.integers(-(2**53), 2**53) | st.integers(-300, 1500)
UNEVEN = st.floats().filter(lambda number: not number.is_integer())
MOMENTS = st.datetimes(timezones=st.just(dt.UTC)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
LEAVES = st.one_of(
    st.none(),
    st.just(UNDEFINED),
    st.booleans(),
    EXACT,
    UNEVEN,
    TEXTS,
    st.binary(max_size=8),
    st.binary(min_size=60, max_size=90),
    MOMENTS,
)


def containers(
    inner: st.SearchStrategy[Any], keys: st.SearchStrategy[Any] = KEYS
) -> st.SearchStrategy[Any]:
    members = st.dictionaries(keys, inner, max_size=4)
    return (
        st.lists(inner, max_size=4)
        | members
        | st.builds(JavaScriptError, TEXTS, TEXTS, members.map(without_texts))
    )


def without_texts(members: dict[Any, Any]) -> dict[Any, Any]:
    """Return *members* that an error may have: its texts are not among them."""
    return {key: item for key, item in members.items() if key not in ("message", "stack")}


VALUES = st.recursive(LEAVES, containers, max_leaves=12)


@given(VALUES)
def test_any_value_comes_out_as_it_went_in(value: object) -> None:
    data = LOSSLESS.encode(value)

    arrived = LOSSLESS.decode(data)
    assert LOSSLESS.encode(arrived) == data
    assert equal(arrived, value)


def equal(one: Any, other: Any) -> bool:
    """Whether two values are of the same types and equal; keys may be in another order."""
    if type(one) is not type(other):
        return False
    match one:
        case float():
            return repr(one) == repr(other)
        case list():
            return len(one) == len(other) and all(map(equal, one, other))
        case dict():
            return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
        case JavaScriptError():
            return (one.message, one.stack) == (other.message, other.stack) and equal(
                one.fields, other.fields
            )
        case _:
            return bool(one == other)


CELLS = st.sampled_from(
    [
        st.integers(-(2**53), 2**53),
        st.integers(0, 99) | st.floats(),
        st.floats(-9, 9),
        TEXTS,
        TEXTS.filter(bool),
        TEXTS | st.none(),
        st.booleans() | st.none(),
        LEAVES,
        st.lists(st.booleans(), max_size=2),
    ]
)
SHAPES = st.recursive(
    CELLS,
    lambda inner: (
        st.dictionaries(KEYS | st.sampled_from("abc"), inner, max_size=4).map(st.fixed_dictionaries)
        | st.lists(inner, max_size=3).map(lambda items: st.tuples(*items).map(list))
    ),
    max_leaves=6,
)
LISTS_OF_ONE_SHAPE = SHAPES.flatmap(lambda shape: st.lists(shape, min_size=32, max_size=34))


@given(LISTS_OF_ONE_SHAPE)
def test_any_list_of_one_shape_is_written_as_a_tuple_is(value: list[object]) -> None:
    assert LOSSLESS.encode(value) == LOSSLESS.encode(with_tuples(value))


@given(st.floats(-1e300, 1e300).map(float.__trunc__))
def test_an_integral_number_beyond_2_53_comes_out_as_node_reads_it(number: int) -> None:
    """It may change by a little whenever it travels: so does V8's base 36."""
    arrived = CODEC.decode(CODEC.encode(number))

    assert type(arrived) is int
    assert arrived == pytest.approx(number, rel=1e-14)


@given(st.binary(max_size=300), st.integers(0, 50))
def test_any_bytes_behind_any_integers_come_out(data: bytes, before: int) -> None:
    value = [*range(before), data, before, data]

    assert CODEC.decode(CODEC.encode(value)) == value


@given(st.binary(min_size=1, max_size=2000))
def test_numbers_of_bytes_are_those_of_each(data: bytes) -> None:
    assert b"".join(bytes_text(data)) == b"|".join(b"".join(bytes_text(bytes([b]))) for b in data)


def almost_serialize_json() -> st.SearchStrategy[bytes]:
    """Values with damaged bytes, and documents of fitting characters."""

    def damage(value: object, place: int, new: bytes) -> bytes:
        data = CODEC.encode(value)
        place %= len(data)
        return data[:place] + new + data[place + 1 :]

    damaged = st.builds(
        damage,
        VALUES,
        st.integers(0, 10**6),
        st.binary(max_size=1) | st.sampled_from([b"|", b"^", b"]", b"@", b"*", b"-", b"0", b"a"]),
    )
    parts = st.tuples(
        st.text("ab|+%27C", max_size=8),
        st.text("0123Z-|a_ ", max_size=12),
        st.text("0123.e-+|NaInfity", max_size=12),
        st.text("0123Z-|", max_size=8),
        st.text("$@*#]|-01234567AZ", max_size=20),
    )
    return damaged | parts.map("^".join).map(str.encode) | st.binary()


@given(almost_serialize_json())
@example(b"^1^^^*0]")
def test_any_bytes_are_a_value_or_the_peers_error(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        CODEC.decode(data)


STRUCTURES = st.text("$@#]|-0155Z", max_size=12) | st.recursive(
    st.text("0Z", min_size=1, max_size=7) | st.sampled_from(["-1", "-5", "-6", "*]", "1|"]),
    lambda inner: st.tuples(st.sampled_from("$@#"), st.lists(inner, max_size=4)).map(
        lambda parts: f"{parts[0]}{'|'.join(parts[1])}]"
    ),
    max_leaves=6,
)


@given(STRUCTURES)
@example("")
@example("0|")
@example("-1$]")
@example("0-1")
@example("]00000@")
@example("1" * 12)
def test_a_long_structure_is_read_as_a_short_one(structure: str) -> None:
    """The tokens of a long one are read all at once."""
    dictionaries = b"text|message|stack^1^^^"

    def outcome(before: int) -> object:
        data = b"%b@%b%b]" % (dictionaries, b"-1|" * before, structure.encode())
        try:
            value = LOSSLESS.decode(data)
        except RemoteProtocolError as exc:
            return str(exc)
        return exactly(value[before:]) if isinstance(value, list) else exactly(value)

    assert outcome(1000) == outcome(1)


@given(almost_serialize_json())
def test_what_was_read_and_written_again_can_be_read(data: bytes) -> None:
    with suppress(RemoteProtocolError, UnencodableValueError):
        again = LOSSLESS.encode(LOSSLESS.decode(data))
        try:
            LOSSLESS.decode(again)
        except RemoteProtocolError as exc:
            raise AssertionError(again) from exc


junk_texts = ("\ud800", "a\udfff")
junk = st.builds(Junk) | st.sampled_from(
    [1j, dt.date(1, 1, 1), 2**53 + 1, AWARE.replace(tzinfo=None), *junk_texts]
)
JUNK_TYPES = (Junk, complex, dt.date)
KEYS_AND_JUNK = KEYS | st.sampled_from([1j, b"", None, *junk_texts])
ANYTHING = st.recursive(
    LEAVES | junk,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS_AND_JUNK, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(ANYTHING)
def test_any_junk_is_told_with_a_path_that_leads_to_it(value: object) -> None:
    error = refusal(LOSSLESS, value)
    if error is None:
        data = LOSSLESS.encode(value)
        assert LOSSLESS.encode(LOSSLESS.decode(data)) == data
    elif "no double" in error.reason:
        assert tells_the_culprit(error, value, (int,))
    else:
        assert tells_the_culprit(error, value, (*JUNK_TYPES, bytes, type(None)), junk_texts)


# ------------------------------------------------------------------- tables


def rows_of(*columns: list[Any], count: int = 100) -> list[Any]:
    """Return rows that take their values from the columns in turn."""
    return [
        {chr(ord("a") + number): column[row % len(column)] for number, column in enumerate(columns)}
        for row in range(count)
    ]


def deep(value: Any, levels: int) -> list[Any]:
    """Return the value in so many lists."""
    for _ in range(levels):
        value = [value]
    return [*value]


TABLES = {
    "plain": rows_of([1, 2, 3], ["x", "y z"], [1.5, 2.25], [True, False], [None]),
    "gaps among texts": rows_of(["", "x", None, "y"], [None, True]),
    "floats that are integral": rows_of([1.0, 2.5, -0.0, 3]),
    "not finite": rows_of([float("nan"), float("inf"), 1]),
    "great numbers": rows_of([1e300, 2.0**60, 0.1]),
    "rows in rows": rows_of([{"k": 1, "l": ["a", 2.5]}, {"k": 2, "l": ["b", 3]}]),
    "lists of texts": rows_of([["a", "b"], ["c", "d"]]),
    "no columns": [{}] * 40,
}
NO_TABLES = {
    "few rows": rows_of([1], count=5),
    "rows of other lengths": [*rows_of([1], [2]), {"a": 1}],
    "lists of other lengths": rows_of([["a"], ["a", "b"]]),
    "other keys": [*rows_of([1]), {"b": 1}],
    "another order of keys": [*rows_of([1], [2]), {"b": 1, "a": 2}],
    "keys like integers": [{"b": 1, "1": 2}] * 40,
    "mixed columns": rows_of([1, "x"], [None, 1.5]),
    "bytes": rows_of([b"ab", b""]),
    "ints beyond": rows_of([2**60, 1]),
    "a row that is no dict": [*rows_of([1]), 7],
    "deeply nested": rows_of([deep("x", 11)]),
    "only the sample fits": [*rows_of([1], count=1000), {"a": "x"}],
    "none in the depths": deep(rows_of([1]), 11),
}


@pytest.mark.parametrize("rows", [*TABLES.values(), *NO_TABLES.values()], ids=[*TABLES, *NO_TABLES])
def test_tables_are_written_as_row_by_row(rows: list[Any]) -> None:
    """A tuple is written like a list, and is never taken for a table."""
    data = CODEC.encode(rows)
    assert data == CODEC.encode(tuple(rows))
    assert exactly(CODEC.decode(data)) == exactly(CODEC.decode(CODEC.encode(tuple(rows))))


COLUMNS = st.lists(
    st.integers(-(2**53), 2**53)
    | st.floats()
    | st.text(max_size=3)
    | st.booleans()
    | st.none()
    | st.lists(st.integers(0, 3), max_size=2),
    min_size=1,
    max_size=3,
)


@given(st.lists(COLUMNS, min_size=1, max_size=4), st.integers(30, 70))
def test_any_table_is_written_as_row_by_row(columns: list[list[Any]], count: int) -> None:
    rows = rows_of(*columns, count=count)
    if refusal(CODEC, rows) is None:
        assert CODEC.encode(rows) == CODEC.encode(tuple(rows))


@pytest.mark.parametrize("wrong", [2**53 + 1, "\ud800", object(), {1: 2}])
def test_what_is_wrong_in_a_table_is_told_with_its_path(wrong: object) -> None:
    rows = rows_of([1], ["x"])
    rows[70]["b"] = wrong
    error = refusal(CODEC, rows)
    assert error is not None
    assert error.path.startswith("value[70]")
