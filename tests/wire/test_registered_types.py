"""Types of users' own in the codec ``msgpack`` (SPEC section 4.1, extension 9)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from enum import Enum, Flag, auto
from time import perf_counter
from typing import Any, ClassVar

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster_protocol import RemoteProtocolError, UnencodableValueError
from cluster_protocol.codecs import JsonCodec, MsgpackCodec, UserType, UserTypes
from cluster_protocol.codecs._user_types import dataclass_functions, enum_functions, tell

from ._culprits import Junk


@dataclass(frozen=True)
class Pair:
    left: object
    right: object = None


@dataclass
class Node:
    """A list of them is linked, and as deep as it is long."""

    next: object = None


class Colour(Enum):
    RED = object()
    BLUE = 2
    AZURE = BLUE


class Rights(Flag):
    READ = auto()
    WRITE = auto()


class Tags(set[str]):
    """A kind of what the codec carries by itself."""


class Moment(dt.datetime):
    pass


class Handle:
    """Travels by functions, which may fail, and so may what makes it a key."""

    def __init__(self, number: Any) -> None:
        self.number = number

    def __hash__(self) -> int:
        return 1 // int(self.number)

    def __eq__(self, other: object) -> bool:
        return bool(1 // (self.number - 2)) or isinstance(other, Handle)


class UnshowableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def fail(error: BaseException) -> Callable[[Any], Any]:
    def function(_: object) -> object:
        raise error

    return function


def codec(*types: UserType) -> MsgpackCodec:
    return MsgpackCodec(UserTypes(*types))


CODEC = codec(
    UserType("pair", Pair, *dataclass_functions(Pair)),
    UserType("node", Node, *dataclass_functions(Node)),
    UserType("colour", Colour, *enum_functions(Colour)),
    UserType("rights", Rights, *enum_functions(Rights)),
    UserType("tags", Tags, sorted, Tags),
    UserType("moment", Moment, Moment.isoformat, Moment.fromisoformat),
    UserType("handle", Handle, lambda handle: handle.number, Handle),
)


def named(name: object, value: object) -> bytes:
    """Return an extension 9 of anything."""
    return _extension(9, _packed([name, value]))


def _extension(code: int, content: bytes) -> bytes:
    return _packed(msgpack.ExtType(code, content))


def _packed(value: object) -> bytes:
    data: bytes = msgpack.packb(value)
    return data


def travel(value: object) -> object:
    return CODEC.decode(CODEC.encode(value))


def refused(value: object, by: MsgpackCodec = CODEC) -> UnencodableValueError:
    with pytest.raises(UnencodableValueError) as caught:
        by.encode(value)
    return caught.value


# ----------------------------------------------------------------- round trips


@pytest.mark.parametrize(
    "value",
    [
        Pair(1, "a"),
        [Pair(Pair(1), [Pair(2)]), {"k": Pair({1, 2}, {"d": dt.date(2024, 1, 2)})}],
        {Pair(1): 1, (Pair(2), 3): 4, Colour.BLUE: 5},
        {Pair(1), Colour.RED},
        frozenset([(Pair(frozenset([Pair(0)])),)]),
        Pair({(1, 2): {(3,): 4}}, {(Pair(1), (2,)): [5]}),
        [Colour.RED, Colour.AZURE],
        [Rights.READ, Rights.READ | Rights.WRITE, Rights(0)],
        [Tags({"a", "b"}), {"a", "b"}],
        [Moment(2024, 1, 2, 3), dt.datetime(2024, 1, 2, 3)],
    ],
    ids=[
        *("an instance", "nested ones", "as keys", "in a set", "in a tuple in a frozenset"),
        *(
            "with keys that are tuples",
            "enumerations",
            "flags",
            "a kind of set",
            "a kind of datetime",
        ),
    ],
)
def test_a_value_arrives_as_it_was_sent(value: object) -> None:
    arrived = travel(value)

    assert arrived == value
    assert type(arrived) is type(value)


hashable = st.none() | st.integers() | st.text(max_size=5) | st.sampled_from(Colour) | st.uuids()
members = st.recursive(hashable, lambda inner: st.builds(Pair, inner, inner), max_leaves=4)
values = st.recursive(
    members | st.sampled_from(Rights) | st.frozensets(members, max_size=3),
    lambda inner: (
        st.builds(Pair, inner, inner)
        | st.lists(inner, max_size=3)
        | st.dictionaries(members | st.tuples(members), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(values)
def test_any_value_comes_out_as_it_went_in(value: object) -> None:
    try:
        data = CODEC.encode(value)
    except UnencodableValueError as exc:
        assert exc.reason.endswith("a nest of more than 8 sets and registered types")  # noqa: PT017
    else:
        assert CODEC.decode(data) == value


def test_a_class_travels_by_its_functions() -> None:
    arrived = travel([Handle("ab")])

    assert isinstance(arrived, list)
    assert (type(arrived[0]), arrived[0].number) == (Handle, "ab")


def test_only_the_exact_class_is_meant() -> None:
    class Triple(Pair):
        pass

    assert refused([Triple(1)]).path == "value[0]"
    assert refused([Triple(1)]).reason.endswith("Triple, which is not registered (register_type)")
    assert type(travel(Tags())) is Tags
    assert type(codec().decode(codec().encode(Tags("a")))) is set


def test_json_cannot_carry_them() -> None:
    with pytest.raises(UnencodableValueError, match=r"value\['k'\].*it is of type .*\.Pair"):
        JsonCodec().encode({"k": Pair(1)})


# ------------------------------------------------------------------ dataclasses


def test_a_dataclass_of_every_kind_of_field() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Job:
        kinds: ClassVar[list[str]] = []
        name: str
        tries: int = 0
        tags: list[str] = field(default_factory=list)
        secret: InitVar[str] = "none"
        length: int = field(init=False)
        owner: str = field(init=False)

        def __post_init__(self, secret: str) -> None:
            object.__setattr__(self, "length", len(self.name) + len(secret))

    encode, decode = dataclass_functions(Job)
    job = Job(name="a", secret="longer")

    assert encode(job) == {"name": "a", "tries": 0, "tags": [], "length": 7}
    arrived: Any = decode(encode(job))
    assert (arrived.name, arrived.length, hasattr(arrived, "owner")) == ("a", 7, False)

    older: Any = decode({"name": "ab", "color": "unknown here"})
    assert (older.tries, older.tags, older.length) == (0, [], 6)

    object.__setattr__(job, "owner", "ann")
    assert decode(encode(job)) == job


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"right": 1}, "without left, which has no default"),
        ([1], "a map of fields is needed"),
        (None, "a map of fields is needed"),
    ],
)
def test_what_is_no_dataclass_is_refused(value: object, reason: str) -> None:
    with pytest.raises(
        RemoteProtocolError, match=f"^a value of type 'pair' cannot be made: {reason}$"
    ):
        CODEC.decode(named("pair", value))


def test_post_init_runs_and_may_refuse() -> None:
    @dataclass
    class Positive:
        number: int

        def __post_init__(self) -> None:
            if self.number <= 0:
                raise ValueError(f"{self.number} is not positive")

    positive = codec(UserType("positive", Positive, *dataclass_functions(Positive)))

    assert positive.decode(named("positive", {"number": 4})) == Positive(4)
    with pytest.raises(RemoteProtocolError) as caught:
        positive.decode(named("positive", {"number": -4711}))
    assert str(caught.value) == (
        "a value of type 'positive' cannot be made: its decode raised ValueError"
    )
    assert isinstance(caught.value.__cause__, ValueError)


# ----------------------------------------------------------------- enumerations


def test_members_travel_by_name_and_flags_by_value() -> None:
    assert CODEC.encode(Colour.AZURE) == named("colour", "BLUE")
    assert CODEC.encode(Rights.READ | Rights.WRITE) == named("rights", 3)
    assert CODEC.decode(named("colour", "AZURE")) is Colour.BLUE


@pytest.mark.parametrize("value", ["GREEN", 2, None, [], "__class__"])
def test_an_unknown_member_is_refused(value: object) -> None:
    with pytest.raises(RemoteProtocolError, match=r"no member of that name is known here$"):
        CODEC.decode(named("colour", value))


@pytest.mark.parametrize("value", [8, "READ", None, {}])
def test_an_unknown_flag_is_refused(value: object) -> None:
    with pytest.raises(RemoteProtocolError, match="'rights' cannot be made: its decode raised"):
        CODEC.decode(named("rights", value))


# ------------------------------------------------------------------- refusals


def test_an_unknown_name_is_told() -> None:
    data = CODEC.encode([Pair(1)])

    with pytest.raises(RemoteProtocolError) as caught:
        codec().decode(data)

    assert str(caught.value) == (
        "type 'pair' is not registered in this process; call register_type here, too"
    )


@pytest.mark.parametrize("name", ["os.system", "builtins.object", "", "x" * 1_000_000])
def test_a_peer_cannot_choose_a_class(name: str) -> None:
    with pytest.raises(RemoteProtocolError, match="is not registered") as caught:
        CODEC.decode(named(name, "true"))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "error",
    [ValueError("s3cret"), TypeError("s3cret"), UnshowableError(), RecursionError("s3cret")],
)
def test_a_decode_that_fails_is_told_without_the_payload(error: Exception) -> None:
    calls = 0

    def decode(_: object) -> object:
        nonlocal calls
        calls += 1
        raise error

    broken = codec(UserType("broken", Junk, str, decode))
    with pytest.raises(RemoteProtocolError) as caught:
        broken.decode(named("broken", "s3cret"))

    assert str(caught.value) == (
        f"a value of type 'broken' cannot be made: its decode raised {type(error).__name__}"
    )
    assert calls == 1


def test_an_encode_that_fails_is_told_with_path_type_and_error() -> None:
    broken = codec(UserType("broken", Junk, fail(LookupError("no such row")), str))

    error = refused({"rows": [1, Junk()]}, broken)

    assert error.path == "value['rows'][1]"
    assert error.reason == (
        f"it is of type {Junk.__module__}.Junk, whose encode raised LookupError: no such row"
    )
    assert refused({Junk(): 1}, broken).path == "value"
    assert "a set with a part that is of type" in refused({Junk()}, broken).reason
    unshowable = codec(UserType("broken", Junk, fail(UnshowableError()), str))
    assert "raised UnshowableError: (its text" in refused([Junk()], unshowable).reason


def test_an_encode_that_fails_once_is_told_all_the_same() -> None:
    errors = [LookupError("busy")]

    def encode(_: object) -> object:
        if errors:
            raise errors.pop()
        return 1

    assert refused(Junk(), codec(UserType("t", Junk, encode, str))).reason == "LookupError: busy"


def test_a_part_that_cannot_be_sent_is_told_with_both_paths() -> None:
    error = refused([0, Pair({"a": [1j]})])

    assert error.path == "value[1]"
    assert error.reason == (
        f"it is of type {Pair.__module__}.Pair, in whose encoded form value['left']['a'][0] "
        f"cannot be: it is of type complex, which is not registered (register_type)"
    )
    assert refused([Pair(1), {Pair(1): 1j}]).path == f"value[1][{Pair(1)!r}]"


def test_the_text_of_an_error_is_short() -> None:
    assert len(tell(ValueError("x" * 10_000))) < 300


# --------------------------------------------------------------------- nesting


def chain(length: int) -> Node:
    node = Node()
    for _ in range(length - 1):
        node = Node([node])
    return node


def test_they_nest_up_to_8_levels() -> None:
    assert travel(chain(8)) == chain(8)
    for length in (9, 20, 400):
        error = refused([chain(length)])
        assert error.path == "value[0]"
        assert error.reason == "it is a nest of more than 8 sets and registered types"


def test_sets_and_types_share_the_8_levels() -> None:
    value: object = frozenset()
    for depth in range(2, 9):
        value = Pair(value) if depth % 2 else frozenset([value])

    assert travel([value]) == [value]
    for too_deep in ({value}, Pair(value), {Pair(1): Pair(value)}, frozenset([(1, value)])):
        assert refused(too_deep).reason.endswith("a nest of more than 8 sets and registered types")


def test_an_encode_that_returns_its_argument_comes_to_an_end() -> None:
    same = codec(UserType("junk", Junk, lambda junk: junk, str))

    assert refused([Junk()], same).reason == (
        "it is a nest of more than 8 sets and registered types"
    )


def test_a_form_that_contains_itself_is_refused() -> None:
    form: list[object] = []
    form.append(form)

    error = refused([Junk()], codec(UserType("junk", Junk, lambda _: form, str)))

    assert error.path == "value[0]"
    assert error.reason.endswith("nested deeper than 100 levels, or contains itself")


def test_hostile_nesting_is_refused_and_harms_nobody() -> None:
    for code in (7, 9):
        data = b"\x92\xa4node\x80"
        for level in range(3000):
            kind = code if level % 2 else 9
            data = b"\xc9" + len(data).to_bytes(4, "big") + bytes([kind]) + data
            data = b"\x92\xa4node\x81\xa4next" + data
        with pytest.raises(RemoteProtocolError):
            CODEC.decode(data)


def test_lists_as_keys_on_every_level_do_not_multiply_the_work() -> None:
    """Each level that is read twice would double what is in it: 256 times in all."""
    made = 0

    def make(value: object) -> object:
        nonlocal made
        made += 1
        return value

    counting = codec(UserType("node", Node, str, make))
    value: object = 0
    for _ in range(8):
        value = msgpack.ExtType(9, _packed(["node", [value, {(1,): 2}]]))
    begin = perf_counter()

    counting.decode(_packed([value, {(1,): 2}]))

    assert made <= 16
    assert perf_counter() - begin < 1


# ------------------------------------------------------------------- any bytes


def test_what_fails_as_a_key_at_the_receiver_is_the_peers_error() -> None:
    """Its class's own code makes it a key, and may raise anything."""
    for wrong in (0, None, "", "text"):
        key = named("handle", wrong)
        for data in (b"\x81" + key + b"\x00", _extension(7, b"\x91" + key)):
            with pytest.raises(RemoteProtocolError, match=r"^not msgpack: .*Error: "):
                CODEC.decode(data)


def test_keys_whose_comparison_fails_are_the_peers_error() -> None:
    key = named("handle", 2)

    with pytest.raises(RemoteProtocolError, match="ZeroDivisionError"):
        CODEC.decode(b"\x82" + key + b"\x00" + key + b"\x00")


def test_a_dataclass_with_a_list_cannot_be_a_key() -> None:
    """A tuple in its field arrives as a list."""
    data = CODEC.encode({Pair((1, 2)): 1})

    with pytest.raises(RemoteProtocolError, match="unhashable type: 'list'"):
        CODEC.decode(data)


names = st.sampled_from(["pair", "node", "colour", "rights", "tags", "moment", "handle", "none"])
leaves = (
    st.none() | st.integers(-3, 3) | st.text(max_size=3) | st.sampled_from(["RED", {"left": 1}])
).map(_packed)


def _joined(head: int, parts: list[bytes]) -> bytes:
    return bytes([head]) + b"".join(parts)


contents = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: _joined(0x90 + len(parts), parts)),
        st.tuples(inner, inner).map(lambda pair: _joined(0x81, list(pair))),
        st.builds(
            lambda field, part: _joined(0x81, [_packed(field), part]),
            st.sampled_from(["left", "right", "next"]),
            inner,
        ),
        st.builds(lambda name, part: _extension(9, b"\x92" + _packed(name) + part), names, inner),
        inner.map(lambda part: _extension(7, b"\x91" + part)),
    ),
    max_leaves=8,
)


@given(contents)
def test_any_content_is_a_value_or_the_peers_error(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        CODEC.decode(data)


@given(st.binary())
def test_any_bytes_in_a_type_are_a_value_or_the_peers_error(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        CODEC.decode(_extension(9, data))
