"""What takes several requests, step by step: races that a real server seldom shows."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from kazoo.exceptions import (
    BadVersionError,
    ConnectionLoss,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    SessionExpiredError,
    ZookeeperError,
)

from cluster_client import _backend
from cluster_client.contrib import _zookeeper_nodes as nodes
from cluster_client.contrib._zookeeper_publications import Declaration, Publication, _remove
from cluster_client.contrib._zookeeper_requests import WINDOW, Request, Requests, Steps, patiently
from cluster_client.contrib._zookeeper_watches import ChildrenWatch, DataWatch

OURS = SimpleNamespace(ephemeralOwner=7, version=0)
THEIRS = SimpleNamespace(ephemeralOwner=8, version=3)


def play(steps: Steps[Any], *answers: Any) -> tuple[list[str], Any]:
    """Take steps with given answers; returns what was asked, and what came of it."""
    asked = []
    remaining = deque(answers)
    try:
        request = next(steps)
        while True:
            asked.append(f"{request.operation} {request.path}")
            answer = remaining.popleft()
            request = steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
    except StopIteration as stop:
        outcome = stop.value
    except ZookeeperError as exc:
        outcome = type(exc)
    assert not remaining
    return asked, outcome


def test_parents_that_others_make_and_delete() -> None:
    steps = nodes.create("/a/b/c", make_parents=True)
    asked, outcome = play(
        steps,
        *(NoNodeError(), NoNodeError(), NodeExistsError()),  # somebody else made /a
        *(NoNodeError(), "/a"),  # and deleted it
        *("/a/b", "/a/b/c"),
    )
    assert asked == [
        f"create {path}" for path in ("/a/b/c", "/a/b", "/a", "/a/b", "/a", "/a/b", "/a/b/c")
    ]
    assert outcome == "/a/b/c"


def test_children_that_come_and_go_while_a_tree_is_deleted() -> None:
    steps = nodes.delete("/a", recursive=True)
    answers = [NotEmptyError(), ["b"], NoNodeError(), NotEmptyError(), NoNodeError(), NoNodeError()]
    assert play(steps, *answers) == (
        [
            "delete /a",
            "get_children /a",
            "delete /a/b",
            "delete /a",
            "get_children /a",
            "delete /a",
        ],
        NoNodeError,
    )


def test_only_what_is_ours_is_removed() -> None:
    assert play(_remove("/a", 7), None) == (["exists /a"], None)
    assert play(_remove("/a", 7), THEIRS) == (["exists /a"], None)
    assert play(_remove("/a", 7), OURS, NoNodeError()) == (["exists /a", "delete /a"], None)
    changed = play(_remove("/a", 7), OURS, BadVersionError(), THEIRS)
    assert changed == (["exists /a", "delete /a", "exists /a"], None)


def test_steps_that_may_be_repeated_are_when_a_connection_breaks() -> None:
    steps = patiently(lambda: _remove("/a", 7))
    asked, _ = play(steps, OURS, ConnectionLoss(), ConnectionLoss(), None)
    assert asked == ["exists /a", "delete /a", "exists /a", "exists /a"]


class FakeKazoo:
    """Answers when it is told to, in the same thread."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.results: list[Any] = []

    def get_async(self, path: str, **_: Any) -> Any:
        return self._ask(f"get {path}")

    def exists_async(self, path: str, **_: Any) -> Any:
        return self._ask(f"exists {path}")

    def create_async(self, path: str, _: bytes, **__: Any) -> Any:
        return self._ask(f"create {path}")

    def _ask(self, what: str) -> Any:
        self.asked.append(what)
        result = SimpleNamespace(exception=None, value=None, callbacks=[])
        result.rawlink = result.callbacks.append
        self.results.append(result)
        return result

    def answer(self, number: int, value: Any) -> None:
        result = self.results[number]
        if isinstance(value, Exception):
            result.exception = value
        else:
            result.value = value
        for callback in result.callbacks:
            callback(result)


async def settled() -> None:
    await anyio.wait_all_tasks_blocked()


@pytest.fixture
def raw() -> FakeKazoo:
    return FakeKazoo()


@pytest.fixture
async def requests(raw: FakeKazoo) -> Requests:
    return Requests(raw, _backend.event_loop_waker())


def read(path: str) -> Steps[Any]:
    return (yield Request("get", path))


async def test_a_node_that_goes_between_two_requests_is_published_again(
    raw: FakeKazoo, requests: Requests
) -> None:
    publication = Publication(requests, 7, "/a")
    declaration = Declaration(b"x")
    publication.declare(declaration)
    for number, answer in enumerate((NodeExistsError(), NoNodeError(), "/a", (b"x", OURS))):
        raw.answer(number, answer)
        await settled()
    await declaration.settled.wait()
    assert declaration.accepted
    assert raw.asked == ["create /a", "get /a", "create /a", "get /a"]


@pytest.mark.parametrize("kind", [DataWatch, ChildrenWatch])
def test_a_node_that_comes_between_two_requests_is_seen(
    kind: type[DataWatch | ChildrenWatch],
) -> None:
    watch: Any = kind(Requests(None, print), "/a", print)
    found: Any = (b"x", OURS) if kind is DataWatch else ["b", "a"]
    asked, outcome = play(watch.steps(), NoNodeError(), OURS, found)
    assert len(asked) == 3
    assert outcome == ((b"x", 0) if kind is DataWatch else ("a", "b"))


async def test_kazoo_gets_a_limited_number_of_requests_in_order(
    raw: FakeKazoo, requests: Requests
) -> None:
    values: list[Any] = []
    for number in range(WINDOW + 2):
        requests.begin(read(f"/{number}"), lambda run: values.append(run.outcome()))
    assert raw.asked == [f"get /{number}" for number in range(WINDOW)]
    raw.answer(3, "three")
    await settled()
    assert values == ["three"]
    assert raw.asked[WINDOW:] == [f"get /{WINDOW}"]


async def test_an_answer_that_comes_twice_counts_once(raw: FakeKazoo, requests: Requests) -> None:
    values: list[Any] = []
    for number in range(WINDOW + 2):
        requests.begin(read(f"/{number}"), lambda run: values.append(run.outcome()))
    raw.answer(0, "x")
    raw.answer(0, "x")
    await settled()
    assert values == ["x"]
    assert len(raw.asked) == WINDOW + 1


async def test_an_error_that_is_not_zookeepers_is_passed_on(
    raw: FakeKazoo, requests: Requests
) -> None:
    errors: list[Any] = []
    requests.begin(read("/a"), lambda run: errors.append(run.error))
    error = RuntimeError("xids do not match")
    raw.answer(0, error)
    await settled()
    assert errors == [error]


async def test_what_comes_after_the_end_fails_at_once(raw: FakeKazoo, requests: Requests) -> None:
    late: list[str] = []
    requests.later(60, lambda: late.append("timer"))
    waiting = requests.begin(read("/a"), lambda _: None)
    requests.close(SessionExpiredError("expired"))
    requests.close(SessionExpiredError("closed"))
    with pytest.raises(SessionExpiredError, match="expired"):
        waiting.outcome()
    with pytest.raises(SessionExpiredError, match="expired"):
        await requests.take(read("/b"))
    raw.answer(0, "too late")
    await settled()
    assert raw.asked == ["get /a"]
    assert late == []


async def test_a_callback_that_fails_is_logged(
    requests: Requests, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("on purpose")

    done = anyio.Event()
    requests.soon(fail)
    requests.soon(done.set)
    await done.wait()
    assert "on purpose" in caplog.text
