"""PARITY.md is true: counterparts exist, in the mode they are named for, and totals add up."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parent
TEXT: Final = (TESTS / "PARITY.md").read_text(encoding="utf-8")

SCENARIOS: Final = {
    "async.test.js": 1,
    "client.test.js": 12,
    "close.test.js": 3,
    "cluster.test.js": 4,
    "connection.test.js": 3,
    "edge_case.test.js": 5,
    "event.test.js": 1,
    "follower.test.js": 1,
    "index.test.js": 24,
    "lazy.test.js": 2,
    "ready.test.js": 2,
    "register_error.test.js": 2,
    "server.test.js": 4,
    "subscribe.test.js": 2,
    "utils.test.js": 5,
}
"""What a run of the original's suite has, by file; `it` in a loop over two modes counts twice."""


@dataclass(frozen=True)
class Scenario:
    """A row of a table.

    Attributes:
        file: Node's test file.
        announced: Rows that the heading of the file promises.
        mode: ``cluster`` or ``single`` where Node's suite names one.
        text: What it is about.
        counterparts: Tests, each as file and name.
        status: The word, without its reason.
        reason: What follows the word.
    """

    file: str
    announced: int
    mode: str
    text: str
    counterparts: tuple[tuple[str, str], ...]
    status: str
    reason: str


def scenarios() -> Iterator[Scenario]:
    for section in TEXT.split("\n## ")[1:]:
        heading, *lines = section.splitlines()
        file, _, count = heading.partition(" ")
        for row in [line for line in lines if line.startswith("|")][2:]:
            mode, text, counterparts, status = (cell.strip() for cell in row.split("|")[1:-1])
            word, _, reason = status.partition(": ")
            named = re.findall(r"`([^`]+)::([^`]+)`", counterparts)
            yield Scenario(file, int(count.strip("()")), mode, text, tuple(named), word, reason)


ALL: Final = tuple(scenarios())
each = pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.text[:60])


@cache
def declared_in(path: str) -> dict[str, set[str]]:
    """Return the tests of a file with the fixtures that they take."""
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    return {
        node.name: {argument.arg for argument in node.args.args}
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
    }


@cache
def fixtures_in_single_mode(path: str) -> set[str]:
    """Return the fixtures of a file and its directory that are parametrized with ``single``."""
    found: set[str] = set()
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
    for file in (TESTS / path, (TESTS / path).with_name("conftest.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                functions[node.name] = node
    for name, function in functions.items():
        decorators = " ".join(ast.unparse(decorator) for decorator in function.decorator_list)
        if "fixture" in decorators and "'single'" in decorators:
            found.add(name)
    while True:  # and those that take one of these
        more = {
            name
            for name, function in functions.items()
            if any(argument.arg in found for argument in function.args.args)
        }
        if more <= found:
            return found
        found |= more


def test_every_scenario_of_the_original_has_its_row() -> None:
    assert Counter(scenario.file for scenario in ALL) == SCENARIOS
    assert len(ALL) == 71
    for scenario in ALL:
        assert scenario.announced == SCENARIOS[scenario.file]


def test_the_totals_are_right() -> None:
    before_the_tables = TEXT.partition("\n## ")[0]
    told = {word: int(count) for word, count in re.findall(r"\| (\w+) \| (\d+) \|", TEXT)}
    assert told.pop("all") == len(ALL)
    assert told == Counter(scenario.status for scenario in ALL)
    for word in told:
        assert f"- *{word}*: " in before_the_tables


@each
def test_a_status_says_why(scenario: Scenario) -> None:
    assert scenario.status in {"covered", "adapted", "impossible"}
    assert bool(scenario.reason) is (scenario.status != "covered")
    assert bool(scenario.counterparts) is (scenario.status in {"covered", "adapted"})


@each
def test_a_counterpart_exists(scenario: Scenario) -> None:
    for path, name in scenario.counterparts:
        assert name in declared_in(path), f"{path} has no test {name}"


@each
def test_a_counterpart_runs_in_the_mode_that_it_is_named_for(scenario: Scenario) -> None:
    if scenario.mode != "single":
        assert scenario.mode in {"", "cluster"}
        return
    assert any(
        declared_in(path)[name] & fixtures_in_single_mode(path)
        for path, name in scenario.counterparts
    )
