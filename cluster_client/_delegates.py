"""Which methods of a real client are reachable, under which name, and how."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from cluster_client._delegate_options import (
    CLOSE,
    INVOKE,
    MARK,
    PUBLISH,
    STREAM,
    SUBSCRIBE,
    UNPUBLISH,
    UNSUBSCRIBE,
    Delegate,
)
from cluster_client.errors import ConfigurationError
from cluster_client.limits import DEFAULTS

__all__ = ["DelegateTable", "Method", "delegate_function"]

LIFECYCLE: Final = frozenset({"start", "ready", "aclose", "close", "attach_leadership"})
"""Owned by the leader; a follower must not start or close everybody's client."""

_HAND_OVER: Final[Mapping[str, tuple[str, ...]]] = {"snapshot": (), "restore": ("state",)}
"""Owned by the leader, too, where a class has both and they take these arguments."""

_LEAVE_STANDING: Final = "hand_over"
"""Likewise, where a class has those two and this one takes no argument."""

_ROLE_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    SUBSCRIBE: ("reg", "listener"),
    UNSUBSCRIBE: ("reg", "listener"),
    PUBLISH: ("reg",),
    UNPUBLISH: ("reg",),
}


class Method:
    """A delegated method: its names, its options, its signature.

    Attributes:
        name: On the client.
        target: On the real client.
        wire_name: On the wire.
        arguments_title: What its arguments are called in errors.
        result_title: What its result is called there.
        signature: Of the real method, without ``self``.
        doc: Its docstring.
    """

    __slots__ = (
        "_most",
        "_required",
        "arguments_title",
        "doc",
        "idempotent",
        "kind",
        "name",
        "response_timeout",
        "result_title",
        "signature",
        "target",
        "wire_name",
    )

    def __init__(
        self, cls: type[Any], target: str, options: Delegate, *, camel_case: bool = False
    ) -> None:
        self.target = target
        self.wire_name = _camel_case(target) if camel_case else target
        self.name = options.name or target
        self.arguments_title = f"arguments of {self.name!r}"
        self.result_title = f"result of {self.wire_name!r}"
        self.kind = _kind(getattr(cls, target), options.kind)
        self.idempotent = options.idempotent
        self.response_timeout = options.response_timeout
        self.doc = inspect.getdoc(getattr(cls, target))
        self.signature = _signature_without_self(cls, target)
        self._required, self._most = _positional_range(self.signature)

    def bind(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments as the real method takes them, positional where possible.

        Raises:
            TypeError: If they do not fit the real method's signature.
        """
        if not kwargs and self._required <= len(args) <= self._most:
            return args, {}  # the usual case, and a tenth of the time that `bind` takes
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise TypeError(f"{self.name}(): {exc}") from None
        return bound.args, bound.kwargs


class DelegateTable:
    """The delegated methods of one real client class.

    Args:
        cls: The real client's class.
        explicit: What the user named, by the real method's name.
        auto_generate: Whether public coroutine methods and async generators are delegated
            unnamed.
        reserved: Names that the client has itself.
        camel_case: Whether methods are in JavaScript's spelling on the wire.
        longest_name: Bytes that a name may have there.

    Attributes:
        by_name: Methods by their name on the client.
        by_target: Methods that may be called, by their name on the real client.
        by_wire_name: The same by their name on the wire. No other method can be called.
        aliases: Other names that the user gave to methods of the client itself.
        close_target: The method that closes the real client, if the user named one.
        hands_over_state: Whether the class has ``snapshot`` and ``restore`` for its leader.
        leaves_standing: Whether it has ``hand_over``, too.

    Raises:
        ConfigurationError: If *cls* is no class, a named method is missing, a
            signature does not suit its part, or names clash.
    """

    def __init__(
        self,
        cls: type[Any],
        explicit: Mapping[str, Delegate],
        *,
        auto_generate: bool = True,
        reserved: Collection[str] = (),
        camel_case: bool = False,
        longest_name: int = DEFAULTS.method_name,
    ) -> None:
        if not inspect.isclass(cls):
            raise ConfigurationError(f"the real client must be a class, got {cls!r}")
        self.cls = cls
        self.by_name: dict[str, Method] = {}
        self.by_target: dict[str, Method] = {}
        self.by_wire_name: dict[str, Method] = {}
        self.aliases: dict[str, str] = {}
        self.close_target: str | None = None
        self._parts: dict[str, Method] = {}
        self._camel_case = camel_case
        self._longest_name = longest_name
        chosen = {**_marked(cls), **explicit}
        for part in _ROLE_PARAMETERS:
            if part not in chosen and callable(getattr(cls, part, None)):
                chosen[part] = Delegate(part)
        self.hands_over_state = all(_is_hook(cls, *hook, chosen) for hook in _HAND_OVER.items())
        self.leaves_standing = self.hands_over_state and _is_hook(cls, _LEAVE_STANDING, (), chosen)
        leaders_own = {*_HAND_OVER} if self.hands_over_state else set[str]()
        if self.leaves_standing:
            leaders_own.add(_LEAVE_STANDING)
        if auto_generate:
            for target in _methods_to_delegate(cls):
                if target not in leaders_own:
                    chosen.setdefault(target, Delegate())
        for target, options in chosen.items():
            self._add(target, options, reserved)

    def part(self, kind: str) -> Method:
        """Return the method that subscribes, unsubscribes or publishes.

        Raises:
            ConfigurationError: If the real client has none.
        """
        method = self._parts.get(kind)
        if method is None:
            raise ConfigurationError(
                f"{self.cls.__qualname__} has no method to {kind}: define {kind}(self, "
                f"{', '.join(_ROLE_PARAMETERS[kind])}), or name another with "
                f'.delegate("…", "{kind}")'
            )
        return method

    def has_part(self, kind: str) -> bool:
        return kind in self._parts

    def _add(self, target: str, options: Delegate, reserved: Collection[str]) -> None:
        if options.kind == CLOSE and target in LIFECYCLE:
            return  # that one closes it anyway
        function = getattr(self.cls, target, None)
        if not callable(function):
            raise ConfigurationError(
                f"{self.cls.__qualname__} has no method {target!r} to delegate; "
                f"it has {', '.join(_public_methods(self.cls)) or 'no public methods'}"
            )
        if inspect.isasyncgenfunction(function) and options.kind not in (INVOKE, STREAM):
            raise ConfigurationError(
                f"{self.cls.__qualname__}.{target} is an async generator, which can only be "
                f"streamed, not {options.kind!r}"
            )
        if options.kind == CLOSE:
            self._add_close(target, options, reserved)
            return
        if target in LIFECYCLE or target.startswith("_"):
            raise ConfigurationError(
                f"{target!r} cannot be delegated: lifecycle and private methods belong to the "
                f"process that owns the real client"
            )
        method = Method(self.cls, target, options, camel_case=self._camel_case)
        if method.kind in _ROLE_PARAMETERS:
            self._add_part(method, reserved)
            return
        self._claim_name(method, reserved)
        self._make_callable(method)

    def _add_close(self, target: str, options: Delegate, reserved: Collection[str]) -> None:
        if self.close_target is not None:
            raise ConfigurationError(f"both {self.close_target!r} and {target!r} are to close")
        self.close_target = target
        name = options.name or target
        if name not in LIFECYCLE:  # those close the client anyway
            self._refuse_reserved(name, target, CLOSE, reserved)
            self.aliases[name] = "aclose"

    def _add_part(self, method: Method, reserved: Collection[str]) -> None:
        kind = method.kind
        parameters = _ROLE_PARAMETERS[kind]
        if kind in self._parts:
            raise ConfigurationError(
                f"both {self._parts[kind].target!r} and {method.target!r} are to {kind}"
            )
        try:
            method.signature.bind(*parameters)
        except TypeError as exc:
            raise ConfigurationError(
                f"{self.cls.__qualname__}.{method.target}{method.signature} cannot {kind}: it must "
                f"take ({', '.join(parameters)}) by position ({exc}); if it is another thing "
                f'altogether, delegate it as "invoke" under another name'
            ) from None
        self._parts[kind] = method
        if method.name != kind:
            self._refuse_reserved(method.name, method.target, kind, reserved)
            self.aliases[method.name] = kind
        if kind in (PUBLISH, UNPUBLISH):
            self._make_callable(method)

    def _make_callable(self, method: Method) -> None:
        """Let the method be called over the wire."""
        size = len(method.wire_name.encode())
        if size > self._longest_name:
            raise ConfigurationError(
                f"{self.cls.__qualname__}.{method.target} has a name of {size} bytes, the limit is "
                f"{self._longest_name}: rename it, or raise Limits.method_name in all processes"
            )
        self.by_target[method.target] = method
        other = self.by_wire_name.setdefault(method.wire_name, method)
        if other is not method:
            raise ConfigurationError(
                f"{self.cls.__qualname__}: {other.target!r} and {method.target!r} are both "
                f"{method.wire_name!r} on the wire, with camel_case=True; rename one of them"
            )

    def _refuse_reserved(
        self, name: str, target: str, kind: str, reserved: Collection[str]
    ) -> None:
        if name in reserved or name in LIFECYCLE:
            raise ConfigurationError(
                f"{self.cls.__qualname__}.{target} clashes with {name!r} of the client itself; "
                f'give it another name there: .delegate("{target}", "{kind}", name="…")'
            )

    def _claim_name(self, method: Method, reserved: Collection[str]) -> None:
        self._refuse_reserved(method.name, method.target, method.kind, reserved)
        other = self.by_name.setdefault(method.name, method)
        if other is not method:
            raise ConfigurationError(
                f"{other.target!r} and {method.target!r} are both to be called {method.name!r}"
            )


def delegate_function(
    method: Method,
    call: Callable[[Any, Method, tuple[Any, ...], dict[str, Any]], Any],
    name: str | None = None,
) -> Callable[..., Any]:
    """Return a function that looks like the real method.

    It is a coroutine function, unless the method is streamed: then it returns a `Stream`.

    Args:
        method: The real method.
        call: Makes the call; gets the object that the function is called on,
            the method, and its arguments.
        name: Instead of the method's name on the client.
    """

    async def invoke(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return await call(self, method, args, kwargs)

    def stream(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return call(self, method, args, kwargs)

    function: Callable[..., Any] = stream if method.kind == STREAM else invoke
    function.__name__ = function.__qualname__ = name or method.name
    function.__doc__ = method.doc
    function.__signature__ = _with_self(method.signature)  # type: ignore[attr-defined]
    return function


def _with_self(signature: inspect.Signature) -> inspect.Signature:
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    return signature.replace(parameters=[own, *signature.parameters.values()])


def _marked(cls: type[Any]) -> dict[str, Delegate]:
    marks: dict[str, Delegate] = {}
    for name in dir(cls):
        mark = getattr(inspect.getattr_static(cls, name, None), MARK, None)
        if isinstance(mark, Delegate):
            marks[name] = mark
    return marks


def _public_methods(cls: type[Any]) -> list[str]:
    return [
        name
        for name in dir(cls)
        if not name.startswith("_") and name not in LIFECYCLE and callable(getattr(cls, name, None))
    ]


def _methods_to_delegate(cls: type[Any]) -> list[str]:
    """Return the methods that are delegated without being named: what is asynchronous."""
    return [
        name
        for name in _public_methods(cls)
        if inspect.iscoroutinefunction(getattr(cls, name, None))
        or inspect.isasyncgenfunction(getattr(cls, name, None))
    ]


def _camel_case(name: str) -> str:
    """Return a name as JavaScript would spell it; one that is so already stays."""
    return re.sub(r"(?<=[^_])_+([^_])", lambda found: found[1].upper(), name)


def _kind(function: object, kind: str) -> str:
    """Return how a method is called: a generator's result can only be streamed."""
    if kind == INVOKE and (
        inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)
    ):
        return STREAM
    return kind


def _is_hook(
    cls: type[Any], name: str, arguments: tuple[str, ...], chosen: Collection[str]
) -> bool:
    """Tell whether a method is for the leader, and none that the user delegates."""
    if name in chosen or not callable(getattr(cls, name, None)):
        return False
    try:
        _signature_without_self(cls, name).bind(*arguments)
    except TypeError:
        return False
    return True


def _signature_without_self(cls: type[Any], target: str) -> inspect.Signature:
    function = getattr(cls, target)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # Some methods written in C have none. Then the real method itself will judge.
        signature = inspect.signature(_any_method)
    static = isinstance(inspect.getattr_static(cls, target), staticmethod)
    if static or inspect.ismethod(function):  # the latter is a classmethod, its class bound
        return signature
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
        del parameters[0]
    return signature.replace(parameters=parameters)


def _any_method(*args: Any, **kwargs: Any) -> None:
    """Lend its signature to methods that have none."""


def _positional_range(signature: inspect.Signature) -> tuple[int, float]:
    """Return how few and how many positional arguments suffice for a call."""
    required, most = 0, 0.0
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = float("inf")
        elif parameter.kind is parameter.KEYWORD_ONLY:
            if parameter.default is parameter.empty:
                return 1, 0  # never by position alone
        elif parameter.kind is not parameter.VAR_KEYWORD:
            most += 1
            required += parameter.default is parameter.empty
    return required, most
