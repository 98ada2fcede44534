"""Options: every wrong one is named with its value and what it must be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from cluster_client import ClientOptions, ConfigurationError
from cluster_protocol.codecs import JsonCodec


def build(environment: dict[str, str] | None = None, **given: Any) -> ClientOptions:
    return ClientOptions.build({"name": "registry", **given}, environment or {})


def test_the_defaults_are_nodes_in_seconds() -> None:
    options = build()
    assert (options.name, options.port, options.is_leader) == ("registry", 7777, None)
    assert (options.max_wait_time, options.connect_timeout, options.response_timeout) == (30, 10, 3)
    assert (options.heartbeat_interval, options.drain_timeout, options.threads) == (20, 10, 1)
    assert (options.check_heartbeat, options.auto_generate, options.is_broadcast) == (True,) * 3
    assert options.sticky_publish is False
    assert (options.stalled_timeout, options.lag_warning, options.watchdog) == (300, 1, None)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("name", "", "text of 1 to 256 bytes in UTF-8"),
        ("name", 3, "text of 1 to 256 bytes in UTF-8"),
        ("port", 0, "an integer from 1 to 65535"),
        ("port", 65536, "an integer from 1 to 65535"),
        ("port", "7777", "an integer from 1 to 65535"),
        ("port", True, "an integer from 1 to 65535"),
        ("is_leader", "yes", "None, True or False"),
        ("max_wait_time", -1, "a number of seconds, above 0"),
        ("max_wait_time", None, "a number of seconds, above 0"),
        ("max_wait_time", math.nan, "a number of seconds, above 0"),
        ("connect_timeout", 0, "a number of seconds, above 0, finite"),
        ("connect_timeout", math.inf, "a number of seconds, above 0, finite"),
        ("response_timeout", 0, "a number of seconds, above 0"),
        ("response_timeout", True, "a number of seconds, above 0"),
        ("lag_warning", 0, "a number of seconds, above 0"),
        ("watchdog", 0, "a number of seconds, above 0, finite"),
        ("watchdog", math.inf, "a number of seconds, above 0, finite"),
        ("stalled_timeout", 0, "a number of seconds, above 0"),
        ("stalled_timeout", None, "a number of seconds, above 0"),
        ("heartbeat_interval", 0, "a number of seconds, above 0, finite"),
        ("drain_timeout", math.inf, "a number of seconds, 0 or more, finite"),
        ("check_heartbeat", 1, "True or False"),
        ("auto_generate", None, "True or False"),
        ("is_broadcast", "no", "True or False"),
        ("sticky_publish", 0, "True or False"),
        ("format_key", "{path}", "a function from a registration to str"),
        ("publish_key", 1, "a function from a registration to str"),
        ("transcode", "json", "a codec with name, encode and decode"),
        ("threads", 0, "an integer from 1 to 64"),
        ("threads", 65, "an integer from 1 to 64"),
        ("name", "x" * 257, "text of 1 to 256 bytes in UTF-8"),
        ("name", "\ud800", "text of 1 to 256 bytes in UTF-8"),
        ("logger", 3, "a structlog logger, or anything with its methods"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(**{name: value})
    assert str(caught.value) == f"option {name}={value!r} must be {expected}"
    assert isinstance(caught.value, ValueError)


def test_infinite_waiting_is_a_choice() -> None:
    assert build(max_wait_time=math.inf, response_timeout=math.inf).max_wait_time == math.inf


def test_a_codec_of_ones_own_is_accepted() -> None:
    assert build(transcode=JsonCodec()).transcode is not None


def test_an_unknown_option_is_named_with_those_that_there_are() -> None:
    with pytest.raises(
        ConfigurationError, match=r"unknown option 'timeout'; the options are allow_uids, .*port"
    ):
        build(timeout=3)


def test_the_environment_gives_defaults_and_an_argument_beats_it() -> None:
    environment = {"CLUSTER_CLIENT_PORT": "7001", "CLUSTER_CLIENT_CONNECT_TIMEOUT": "2.5"}
    assert build(environment).port == 7001
    assert build(environment).connect_timeout == 2.5
    assert build(environment, port=7002).port == 7002
    assert build({"CLUSTER_CLIENT_PORT": ""}).port == 7777


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigurationError, match="CLUSTER_CLIENT_PORT='http' is not a number"):
        build({"CLUSTER_CLIENT_PORT": "http"})
    with pytest.raises(ConfigurationError, match="port=99999 must be"):
        build({"CLUSTER_CLIENT_PORT": "99999"})


def test_the_processs_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER_CLIENT_PORT", "7003")
    assert ClientOptions.build({"name": "registry"}).port == 7003


# --------------------------------------------------------------------- path


def test_a_path_is_where_the_race_takes_place(tmp_path: Path) -> None:
    options = build(path=tmp_path / "app.sock")
    assert options.endpoint == str(tmp_path.resolve() / "app.sock")
    assert options.place == {"path": options.endpoint}
    assert build(port=7000).place == {"port": 7000}


def test_all_ways_to_write_a_path_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    monkeypatch.chdir(tmp_path)
    ways = ["run/app.sock", "./run/../run/app.sock", "link/app.sock", tmp_path / "run" / "app.sock"]
    assert len({build(path=way).endpoint for way in ways}) == 1


@pytest.mark.parametrize("path", [3, b"/run/app.sock", "", "/run/", "/run/a\0b"])
def test_what_is_no_path_is_refused(path: object) -> None:
    with pytest.raises(ConfigurationError, match=r"option path=.* must be the path of a file"):
        build(path=path)


def test_a_path_that_no_address_has_room_for_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"must be at most \d+ bytes long"):
        build(path="/run/" + "x" * 104)


def test_a_race_has_one_place() -> None:
    with pytest.raises(ConfigurationError, match=r"port=7000 and path='/run/a': a race has one"):
        build(port=7000, path="/run/a")


def test_a_path_goes_before_the_port_of_the_environment() -> None:
    given = {"name": "registry", "path": "/run/a"}
    options = ClientOptions.build(given, {"CLUSTER_CLIENT_PORT": "7001"})
    assert options.endpoint == "/run/a"
