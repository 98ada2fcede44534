"""Sticky publications: the latest per key stands, until it is withdrawn."""

from __future__ import annotations

import pytest

from cluster_client import ConfigurationError
from cluster_client._publications import MAX_DECLARATIONS, DeclarationTable


def test_a_later_declaration_replaces_an_earlier_one_of_its_key() -> None:
    table = DeclarationTable()
    old = table.declare("k", {"value": 1})
    assert table.get("k") is old
    assert not old.accepted
    new = table.declare("k", {"value": 2})
    assert table.get("k") is new
    other = table.declare("other", {"value": 3})
    assert list(table) == [("k", new), ("other", other)]
    table.restore("k", old)
    assert table.get("k") is old


def test_a_withdrawn_declaration_is_gone() -> None:
    table = DeclarationTable()
    declaration = table.declare("k", 1)
    assert table.withdraw("k") is declaration
    assert table.withdraw("k") is None
    assert table.get("k") is None
    assert list(table) == []


def test_declarations_may_change_while_they_are_gone_through() -> None:
    table = DeclarationTable()
    for number in range(3):
        table.declare(str(number), number)
    for key, _ in table:
        table.withdraw(key)
    assert list(table) == []


def test_there_is_a_limit_and_the_error_says_what_to_do() -> None:
    table = DeclarationTable()
    for number in range(MAX_DECLARATIONS):
        table.declare(str(number), number)
    with pytest.raises(ConfigurationError, match=r"1000 sticky publications .* give publish_key"):
        table.declare("one more", 0)
    table.declare("0", "a replacement")
    table.withdraw("1")
    table.declare("one more", 0)
