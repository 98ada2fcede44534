"""All options of a client, their defaults, and the environment variables.

Nothing else in the package reads the environment.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from cluster_client._endpoints import MAX_PATH, Endpoint
from cluster_client.errors import ConfigurationError
from cluster_client.limits import DEFAULTS, Limits
from cluster_protocol import Json
from cluster_protocol.codecs import Codec

__all__ = ["ClientOptions"]

_MAX_PORT: Final = 65535
_MAX_NAME: Final = 256
_MAX_THREADS: Final = 64
_MIN_SECRET: Final = 16
_FLAGS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """Options of one client. All durations are in seconds.

    Attributes:
        name: The channel: clients of one name on one port share a real client.
            Default: the class's name.
        port: Election port on 127.0.0.1, 1 to 65535. Default 7777, or
            ``CLUSTER_CLIENT_PORT``. Best outside the ephemeral range.
        path: Race for a Unix domain socket instead of a port. Its directory must be open to this
            user only (mode 700); it is made if its parent is there. At most 107 bytes on Linux,
            103 elsewhere; not on Windows, and not with Node processes, which have ports only.
        allow_uids: Users whose processes may be peers, besides the own one; ``None`` for all. Where
            the kernel cannot tell a peer's user (TCP on other systems than Linux) all may.
        secret: What both sides of a registration must know, at least 16 bytes; text is taken in
            UTF-8. Node processes are refused then. Default: ``CLUSTER_CLIENT_SECRET``, or none.
        identity: Says what the real client is configured with, as text or bytes of any length:
            clients of one name whose identities differ refuse each other. Only a fingerprint
            leaves the process.
        is_leader: ``None`` joins the race; ``True`` must win it, else opening
            fails; ``False`` never leads, but waits for a leader. Without meaning in
            single mode.
        single_mode: Share with the clients of this name in this process and event loop
            only, without a port. Default ``False``, or ``CLUSTER_CLIENT_SINGLE_MODE``,
            which is 1 or 0.
        max_wait_time: How long a call, or the opening, waits for a leader; may
            be ``math.inf``.
        connect_timeout: For the TCP connect to the leader. Default 10, or
            ``CLUSTER_CLIENT_CONNECT_TIMEOUT``.
        response_timeout: For an answer, from when the call is written.
        subscribe_timeout: How long ``subscribe`` waits for the first value; ``None``
            to wait only until the real client has accepted.
        heartbeat_interval: Between two signs of life to the leader.
        check_heartbeat: Drop a Node peer that misses its heartbeats. Between
            our peers heartbeats only measure: on one host a lost process shows
            as end of file.
        stalled_timeout: How long a follower may take nothing of what the leader has for it, before
            it is dropped; may be ``math.inf``. A process that is stopped takes nothing, so this
            is longer than one is looked at in a debugger.
        drain_timeout: How long a closing leader lets running calls finish.
        lag_warning: How late the event loop may run before that is logged, once per episode; with
            ``math.inf`` it is not measured.
        watchdog: End the process, with status 70, when its event loop has not turned for so long
            while it leads: one that hangs keeps its port from everybody. ``None``: never.
        auto_generate: Delegate public coroutine methods and async generators without being
            told to.
        is_broadcast: Whether every subscriber gets each value, or just one does.
        sticky_publish: Whether `publish` is a standing declaration by default.
        publish_key: Of several sticky publications with one key the latest
            counts. Default: the whole registration is the key.
        format_key: Makes the key under which a registration is known. Default:
            its JSON text.
        transcode: Codec to prefer over msgpack; towards Node peers, instead of serialize-json.
            Those must have been given the same one.
        camel_case: Call the real client's methods by their names in JavaScript's spelling on the
            wire: ``get_data`` as ``getData``, as a real client in Node would have it. The
            same in all processes of a channel.
        threads: Worker threads for synchronous methods, 1 to 64. More than one only for a
            real client that is safe to use from several threads.
        limits: What peers may make this process do at most; see `Limits`.
        logger: A structlog logger, or anything with its methods. Default:
            ``structlog.get_logger("cluster_client")``.
    """

    name: str = ""
    port: int = 7777
    path: str | os.PathLike[str] | None = None
    allow_uids: Collection[int] | None = ()
    secret: str | bytes | None = field(default=None, repr=False)
    identity: str | bytes | None = field(default=None, repr=False)
    is_leader: bool | None = None
    single_mode: bool = False
    max_wait_time: float = 30.0
    connect_timeout: float = 10.0
    response_timeout: float = 3.0
    subscribe_timeout: float | None = None
    heartbeat_interval: float = 20.0
    check_heartbeat: bool = True
    stalled_timeout: float = 300.0
    drain_timeout: float = 10.0
    lag_warning: float = 1.0
    watchdog: float | None = None
    auto_generate: bool = True
    is_broadcast: bool = True
    sticky_publish: bool = False
    publish_key: Callable[[Json], str] | None = None
    format_key: Callable[[Json], str] | None = None
    transcode: Codec | None = None
    camel_case: bool = False
    threads: int = 1
    limits: Limits = DEFAULTS
    logger: Any = None

    @classmethod
    def build(
        cls, given: Mapping[str, object], environment: Mapping[str, str] | None = None
    ) -> ClientOptions:
        """Check what the user typed and fill in the rest.

        Args:
            given: Options by name.
            environment: Instead of ``os.environ``.

        Raises:
            ConfigurationError: If an option is unknown, or a value is of the
                wrong kind or out of its range.
        """
        known = {field.name for field in fields(cls)}
        for name in given:
            if name not in known:
                raise ConfigurationError(
                    f"unknown option {name!r}; the options are {', '.join(sorted(known))}"
                )
        values: dict[str, Any] = {**_from_environment(environment), **given}
        if values.get("path") is not None:
            if "port" in given:
                raise ConfigurationError(
                    f"port={given['port']!r} and path={given['path']!r}: a race has one place, so "
                    f"give one of them"
                )
            values["path"] = _canonical_path(values["path"])
        options = cls(**values)
        options._check()
        return options

    @property
    def endpoint(self) -> Endpoint:
        """Where the race takes place."""
        return self.port if self.path is None else os.fspath(self.path)

    @property
    def place(self) -> dict[str, Endpoint]:
        """The option that says where, by its name."""
        return {"port" if self.path is None else "path": self.endpoint}

    def _check(self) -> None:
        if not isinstance(self.name, str) or not _is_name(self.name):
            raise _wrong("name", self.name, f"text of 1 to {_MAX_NAME} bytes in UTF-8")
        if not _is_int(self.port) or not 1 <= self.port <= _MAX_PORT:
            raise _wrong("port", self.port, f"an integer from 1 to {_MAX_PORT}")
        if self.is_leader is not None and not isinstance(self.is_leader, bool):
            raise _wrong("is_leader", self.is_leader, "None, True or False")
        self._check_access()
        self._check_durations()
        for name in (
            *("single_mode", "check_heartbeat", "auto_generate"),
            *("is_broadcast", "sticky_publish", "camel_case"),
        ):
            if not isinstance(getattr(self, name), bool):
                raise _wrong(name, getattr(self, name), "True or False")
        for name in ("publish_key", "format_key"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise _wrong(name, getattr(self, name), "a function from a registration to str")
        if self.transcode is not None and not isinstance(self.transcode, Codec):
            raise _wrong("transcode", self.transcode, "a codec with name, encode and decode")
        if not isinstance(self.limits, Limits):
            raise _wrong("limits", self.limits, "Limits(…), from cluster_client")
        if self.logger is not None and not callable(getattr(self.logger, "bind", None)):
            raise _wrong("logger", self.logger, "a structlog logger, or anything with its methods")
        if not _is_int(self.threads) or not 1 <= self.threads <= _MAX_THREADS:
            raise _wrong("threads", self.threads, f"an integer from 1 to {_MAX_THREADS}")

    def _check_access(self) -> None:
        uids = self.allow_uids
        if uids is not None and (
            isinstance(uids, (str, bytes))
            or not isinstance(uids, Collection)
            or not all(_is_int(uid) and uid >= 0 for uid in uids)
        ):
            raise _wrong("allow_uids", uids, "None, or a collection of numbers of users")
        secret = self.secret
        if secret is not None:
            if not isinstance(secret, (str, bytes)):
                raise _wrong("secret", type(secret), "text or bytes")  # never the secret itself
            size = len(secret if isinstance(secret, bytes) else secret.encode(errors="replace"))
            if size < _MIN_SECRET:
                raise ConfigurationError(
                    f"the secret has {size} bytes and must have {_MIN_SECRET} or more: whoever has "
                    f"seen a handshake could guess a short one; "
                    f"python -c 'import secrets; print(secrets.token_hex())' makes one"
                )
        if self.identity is not None and not isinstance(self.identity, (str, bytes)):
            raise _wrong("identity", type(self.identity), "text or bytes")

    def _check_durations(self) -> None:
        check_duration("drain_timeout", self.drain_timeout, allow_zero=True, finite=True)
        for name in ("connect_timeout", "heartbeat_interval"):
            check_duration(name, getattr(self, name), allow_zero=False, finite=True)
        for name in ("max_wait_time", "response_timeout", "stalled_timeout", "lag_warning"):
            check_duration(name, getattr(self, name), allow_zero=False, finite=False)
        if self.watchdog is not None:
            check_duration("watchdog", self.watchdog, allow_zero=False, finite=True)
        if self.subscribe_timeout is not None:
            check_duration(
                "subscribe_timeout", self.subscribe_timeout, allow_zero=False, finite=False
            )


def check_duration(name: str, value: object, *, allow_zero: bool, finite: bool) -> None:
    """Check a duration in seconds.

    Raises:
        ConfigurationError: If *value* is no number in the range.
    """
    if (
        not isinstance(value, (int, float))
        or isinstance(value, bool)
        or math.isnan(value)
        or value < 0
        or (value == 0 and not allow_zero)
        or (value == math.inf and finite)
    ):
        lower = "0 or more" if allow_zero else "above 0"
        upper = ", finite" if finite else ""
        raise _wrong(name, value, f"a number of seconds, {lower}{upper}")


def _from_environment(environment: Mapping[str, str] | None) -> dict[str, object]:
    source = os.environ if environment is None else environment
    values: dict[str, object] = {}
    for option, (variable, convert, expected) in _ENVIRONMENT.items():
        text = source.get(variable)
        if not text:
            continue
        try:
            values[option] = convert(text)
        except (ValueError, KeyError):
            raise ConfigurationError(f"{variable}={text!r} is not {expected}") from None
    return values


_ENVIRONMENT: Final[dict[str, tuple[str, Callable[[str], object], str]]] = {
    "port": ("CLUSTER_CLIENT_PORT", int, "a number"),
    "single_mode": ("CLUSTER_CLIENT_SINGLE_MODE", _FLAGS.__getitem__, "1 or 0"),
    "connect_timeout": ("CLUSTER_CLIENT_CONNECT_TIMEOUT", float, "a number"),
    "secret": ("CLUSTER_CLIENT_SECRET", str, "text"),
}


def _canonical_path(path: object) -> str:
    """Return the one path by which all processes know a socket.

    Raises:
        ConfigurationError: If it cannot be the path of a socket.
    """
    if sys.platform == "win32":
        raise ConfigurationError(f"option path={path!r}: Windows has ports only")
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str) or not os.path.basename(text) or "\0" in text:
        raise _wrong("path", path, "the path of a file, as text")
    directory, name = os.path.split(os.path.abspath(text))
    canonical = os.path.join(os.path.realpath(directory), name)
    if len(os.fsencode(canonical)) > MAX_PATH:
        raise _wrong("path", canonical, f"at most {MAX_PATH} bytes long")
    return canonical


def _is_name(text: str) -> bool:
    try:
        return 1 <= len(text.encode()) <= _MAX_NAME
    except UnicodeEncodeError:  # a lone surrogate
        return False


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong(name: str, value: object, expected: str) -> ConfigurationError:
    return ConfigurationError(f"option {name}={value!r} must be {expected}")
