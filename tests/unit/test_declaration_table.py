"""Sticky publications: the latest per key stands, until it is withdrawn."""

from __future__ import annotations

import pytest

from cluster_client import ConfigurationError
from cluster_client._publications import MAX_DECLARATIONS, DeclarationTable


def test_a_later_declaration_replaces_an_earlier_one_of_its_key() -> None:
    table = DeclarationTable()
    old = table.declare("k", {"value": 1})
    assert table.is_current("k", old)
    assert not old.accepted
    new = table.declare("k", {"value": 2})
    assert not table.is_current("k", old)
    other = table.declare("other", {"value": 3})
    assert list(table) == [new, other]
    assert [declaration.reg for declaration in table] == [{"value": 2}, {"value": 3}]


def test_a_withdrawn_declaration_is_gone() -> None:
    table = DeclarationTable()
    declaration = table.declare("k", 1)
    assert table.withdraw("k") is declaration
    assert table.withdraw("k") is None
    assert not table.is_current("k", declaration)
    assert list(table) == []


def test_declarations_may_change_while_they_are_gone_through() -> None:
    table = DeclarationTable()
    for number in range(3):
        table.declare(str(number), number)
    for declaration in table:
        table.withdraw(str(declaration.reg))
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
