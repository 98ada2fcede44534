"""A facade whose delegates are typed where it is written."""

from __future__ import annotations

from cluster_client import APIClientBase, delegated
from typed_registry import Registry


class TypedAPI(APIClientBase[Registry]):
    data_client = Registry
    get_data = delegated(Registry.get_data, idempotent=True)
    remove = delegated(Registry.remove, kind="invoke_oneway")
    number_of_rows = delegated(Registry.size, response_timeout=10)
    rows = delegated(Registry.rows, kind="invoke")
    row_by_row = delegated(Registry.rows, kind="stream")
    history = delegated(Registry.history)
    lines = delegated(Registry.lines)
    chunks = delegated(Registry.chunks, kind="stream")
    search = delegated(Registry.search, kind="stream")
    watch = delegated(Registry.watch, kind="subscribe")  # error: no call
    sizes = delegated(Registry.size, kind="stream")  # error: not iterable
    name = delegated("get_data")  # error: no method
    slow = delegated(Registry.remove, response_timeout="10")  # error: no number


class BoundedAPI(APIClientBase[int, str]):  # error: one real client
    pass
