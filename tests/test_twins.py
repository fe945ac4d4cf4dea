"""What exists twice is the same but for `await`: the two halves of the driver, of the token, of the transports."""

from __future__ import annotations

import ast
import inspect
import re
from typing import TYPE_CHECKING

import pytest

from resilient_client import _bodies, _drive, _network, _token, client, transport

if TYPE_CHECKING:
    from types import ModuleType

_ALIKE = {
    "adrive": "drive",
    "_aread": "_read",
    "_asign": "_sign",
    "_aask": "_ask",
    "_aqueue": "_queue",
    "_araced": "_raced",
    "arace": "race",
    "aclose": "close",
    "aread": "read",
    "asleep": "sleep",
    "aiter": "iter",
    "anext": "next",
    "asend": "send",
    "__aiter__": "__iter__",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "async_auth_flow": "sync_auth_flow",
    "handle_async_request": "handle_request",
    "_await": "_wait",
    "AsyncKept": "Kept",
    "AsyncBound": "Bound",
    "AsyncResilientTransport": "ResilientTransport",
    "AsyncHTTPTransport": "HTTPTransport",
    "AsyncBaseTransport": "BaseTransport",
    "AsyncByteStream": "SyncByteStream",
    "AsyncIterator": "Iterator",
}


class _Synced(ast.NodeTransformer):
    """Turn a task's code into a thread's."""

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.visit(node.value)  # type: ignore[no-any-return]  # ast's own signature

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        return self.generic_visit(ast.For(node.target, node.iter, node.body, node.orelse))

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        plain = ast.FunctionDef(node.name, node.args, node.body, node.decorator_list, None)
        return self.visit_FunctionDef(plain)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        for argument in node.args.args:
            argument.annotation = None
        if ast.get_docstring(node):
            node.body = node.body[1:]
        return self.generic_visit(node)


def _plain(module: ModuleType | type, name: str) -> str:
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            shown = ast.unparse(ast.fix_missing_locations(_Synced().visit(node)))
            for theirs, ours in _ALIKE.items():
                shown = re.sub(rf"(?<![A-Za-z]){re.escape(theirs)}\b", ours, shown)
            return shown
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("module", "task", "thread"),
    [
        (_drive, "_aread", "_read"),
        (_drive, "_asign", "_sign"),
        (_drive, "_araced", "_raced"),
        (_token, "async_auth_flow", "sync_auth_flow"),
        (transport, "handle_async_request", "handle_request"),
    ],
)
def test_a_task_and_a_thread_run_the_same_code(module: ModuleType, task: str, thread: str) -> None:
    """Without `async` and `await`, one is the other to the letter."""
    assert _plain(module, task) == _plain(module, thread)


def test_the_two_drivers_are_alike() -> None:
    """Line by line; how a task closes under a shield is told elsewhere."""
    assert _plain(_drive, "adrive") == _plain(_drive, "drive")


def test_the_two_clients_send_alike() -> None:
    """The short way is the same, and so is the way round it."""
    task, thread = client.AsyncResilientClient, client.ResilientClient
    assert _plain(task, "send") == _plain(thread, "send")


def test_the_two_transports_have_the_same_methods() -> None:
    """Whatever one can do, the other can."""
    names = [set(vars(kind)) for kind in (transport.ResilientTransport, transport.AsyncResilientTransport)]
    assert {_ALIKE.get(name, name) for name in names[1]} == names[0]


@pytest.mark.parametrize(
    ("thread", "task"),
    [
        (_bodies.Kept, _bodies.AsyncKept),
        (_bodies.Watched, _bodies.AsyncWatched),
        (_network.Bounded, _network.AsyncBounded),
        (_network._Stream, _network._AsyncStream),
    ],
)
def test_whatever_is_there_for_threads_is_there_for_tasks(thread: type, task: type) -> None:
    """The same methods, by their own names."""
    assert {_ALIKE.get(name, name) for name in vars(task)} == set(vars(thread))
