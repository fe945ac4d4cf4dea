"""The public names, and their signatures: what users' code and other people's tests are written against.

Law of this file: it changes with a major version. A name or a parameter may be added; what is here stays.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from typing import TYPE_CHECKING, Any, get_args

import httpx
import pytest

import resilient_client
from resilient_client import (
    ApiError,
    AsyncResilientClient,
    AsyncResilientTransport,
    Attempt,
    HmacAuth,
    Outcome,
    Policy,
    PolicyError,
    ResilientClient,
    ResilientTransport,
    TokenAuth,
    Verdict,
    load_policy,
    outcome_of,
    policy_names,
    raise_for_status,
    testing,
)
from resilient_client._guard.settings import UNPROTECTED
from resilient_client.outcome import Reason
from resilient_client.protection import Protections
from resilient_client.testing import VirtualClock, error_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NAMES = {
    "ApiError", "AsyncResilientClient", "AsyncResilientTransport", "Attempt", "HmacAuth", "Outcome", "Policy", "PolicyError",
    "BulkheadFull", "CircuitOpen", "PaceExceeded", "StoreAway",
    "ResilientClient", "ResilientTransport", "TokenAuth", "Verdict", "load_policy", "outcome_of", "policy_names",
    "raise_for_status",
}  # fmt: skip


def shape(function: Callable[..., Any]) -> dict[str, Any]:
    """Give the parameters of a function by name, with their defaults; "*" stands before those that are by keyword alone."""
    shape: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            shape.setdefault("*", ...)
        shape[name] = parameter.default
    return shape


REQUIRED = inspect.Parameter.empty


def begins(actual: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Tell whether a signature offers what is expected, in this order; it may offer more."""
    kept = [(name, default) for name, default in actual.items() if name in expected]
    return kept == list(expected.items())


def test_the_public_names_are_all_of_them() -> None:
    """`__all__` is the contract, sorted; each name is there, Policy, which is loaded late, included."""
    assert set(resilient_client.__all__) == NAMES
    assert sorted(resilient_client.__all__) == list(resilient_client.__all__)
    assert [name for name in NAMES if not hasattr(resilient_client, name)] == []


def test_nothing_else_of_ours_is_public() -> None:
    """What the package defines without an underscore is in `__all__`, or it is a module."""
    ours = {
        name
        for name, thing in vars(resilient_client).items()
        if not name.startswith("_")
        and not isinstance(thing, types.ModuleType)
        and getattr(thing, "__module__", "").startswith("resilient_client")
    }

    assert ours <= set(resilient_client.__all__)


def test_a_star_import_brings_the_public_names() -> None:
    """`from resilient_client import *` works, and brings no more."""
    namespace: dict[str, Any] = {}
    exec("from resilient_client import *", namespace)  # noqa: S102 - a star is allowed at the top of a module alone

    assert set(namespace) - {"__builtins__"} == NAMES


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    """The late loading of Policy does not swallow a slip."""
    name = "Polcy"
    with pytest.raises(AttributeError, match="Polcy"):
        getattr(resilient_client, name)


def test_the_test_kit_is_two_names() -> None:
    """`resilient_client.testing` has the clock and the replies."""
    assert set(testing.__all__) >= {"VirtualClock", "error_response"}


@pytest.mark.parametrize(
    ("ours", "theirs"), [(ResilientClient, httpx.Client), (AsyncResilientClient, httpx.AsyncClient)]
)
def test_a_client_takes_what_httpx_takes(ours: type, theirs: type) -> None:
    """A client is httpx's own, takes our five parameters and then all of httpx's, with httpx's defaults."""
    assert issubclass(ours, theirs)
    actual = shape(ours)
    first = {
        "policy": None, "*": ..., "clock": None, "deadline": None, "raise_for_status": False, "debug": False,
    }  # fmt: skip

    assert list(actual.items())[: len(first)] == list(first.items())
    assert {name: default for name, default in shape(theirs).items() if name != "*"}.items() <= actual.items()


@pytest.mark.parametrize("client", [ResilientClient, AsyncResilientClient])
def test_help_shows_the_protections(client: type) -> None:
    """Every keyword of `Protections` stands in the signature, and has no default but the policy's word."""
    names = list(Protections.__annotations__)
    shown = shape(client)

    assert list(UNPROTECTED.with_({}).__dataclass_fields__) == names
    assert {repr(shown[name]) for name in names} == {"<as the policy says>"}


@pytest.mark.parametrize("kind", [ResilientTransport, AsyncResilientTransport])
def test_a_transport_wraps_another(kind: type) -> None:
    """`ResilientTransport(policy, transport, *, clock, deadline)`."""
    expected = {"policy": None, "transport": None, "*": ..., "clock": None, "deadline": None}

    assert begins(shape(kind), expected)
    assert issubclass(kind, httpx.BaseTransport | httpx.AsyncBaseTransport)


def test_signatures_of_the_rest() -> None:
    """Functions and auths take what they have always taken, in the same order."""
    assert begins(shape(load_policy), {"name_or_path": REQUIRED})
    assert begins(shape(policy_names), {})
    assert begins(shape(outcome_of), {"source": REQUIRED})
    assert begins(shape(raise_for_status), {"response": REQUIRED})
    assert begins(shape(Policy.classify), {"self": REQUIRED, "response": REQUIRED})
    assert begins(shape(HmacAuth), {"key": REQUIRED, "secret": REQUIRED, "*": ..., "digest": "sha256"})
    assert begins(shape(TokenAuth), {"login": REQUIRED, "token": "/token", "*": ..., "lifetime": None})
    assert begins(
        shape(error_response), {"policy": REQUIRED, "error": REQUIRED, "*": ..., "retry_after": None}
    )
    assert begins(shape(ApiError.log_record), {"self": REQUIRED})
    assert begins(
        shape(ApiError.support_report), {"self": REQUIRED, "*": ..., "scopes": (), "event_id": None}
    )


def test_auths_are_auths() -> None:
    """They go wherever httpx takes an auth."""
    assert issubclass(HmacAuth, httpx.Auth)
    assert issubclass(TokenAuth, httpx.Auth)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Attempt, ["number", "status", "error", "verdict", "wait", "change", "request_id", "elapsed"]),
        (Outcome, ["attempts", "verdict", "reason", "elapsed", "slept", "maybe_applied"]),
        (
            Verdict,
            ["name", "code", "category", "retryable", "cause", "remedy", "message", "field", "request_id"],
        ),
    ],
)
def test_records_are_frozen_and_tell_what_they_should(kind: Any, names: Iterable[str]) -> None:
    """Outcomes can be shared between threads: nothing in them changes."""
    assert dataclasses.is_dataclass(kind)
    assert vars(kind)["__dataclass_params__"].frozen
    assert set(names) <= {field.name for field in dataclasses.fields(kind)}


def test_the_reasons_are_these() -> None:
    """Callers compare with these words."""
    assert set(get_args(Reason)) == {
        "success", "not_retryable", "attempts_exhausted", "deadline", "wait_too_long", "body_not_replayable", "cannot_change",
        "retry_disabled", "budget_exhausted", "circuit_open", "bulkhead_full",
        "store_away",
    }  # fmt: skip


def test_errors_are_caught_by_what_catches_httpx_s() -> None:
    """An ApiError is an httpx.HTTPStatusError; a PolicyError is a ValueError."""
    assert issubclass(ApiError, httpx.HTTPStatusError)
    assert issubclass(PolicyError, ValueError)


def test_an_api_error_has_what_callers_read() -> None:
    """Each attribute of the contract is there on a real one."""
    reply = error_response("zerotrace", "RATE_LIMIT", retry_after=7, library="httpx")
    reply.request = httpx.Request("GET", "https://0trace.io/api/v1/codes")
    with pytest.raises(ApiError) as caught:
        raise_for_status(reply, policy="zerotrace")
    error = caught.value

    assert (error.api, error.code, error.name, error.category, error.retry_after) == (
        "zerotrace", 5, "RATE_LIMIT", "rate_limit", 7,
    )  # fmt: skip
    assert all([error.cause, error.remedy, error.user_message])
    assert (error.field, error.request_id) == (None, None)
    assert isinstance(error.outcome, Outcome)
    assert error.log_record()["statusCode"] == 429
    assert "RATE_LIMIT" in error.support_report()
    assert error.response is reply


def test_a_virtual_clock_is_a_clock() -> None:
    """It has the four of every clock, and what was slept."""
    clock = VirtualClock()
    clock.sleep(2.5)

    assert clock.sleeps == [2.5]
    assert clock.monotonic() == 2.5
    assert clock.time() > 1_000_000_000
    assert inspect.iscoroutinefunction(clock.asleep)


def test_the_version_is_told() -> None:
    """`__version__` is three numbers."""
    assert [part.isdigit() for part in resilient_client.__version__.split(".")] == [True, True, True]
