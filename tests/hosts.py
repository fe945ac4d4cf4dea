"""The tests once more, on httpx2: a module that calls go through is loaded a second time, with httpx2 written for httpx.

Law of this file: no test is written down twice. A twin is made in memory from the module on disk, whose lines and columns it
keeps, so that a traceback shows the test that one has to look at. The host stands in its ids: `tests/test_auth.py::httpx2::…`.
"""

from __future__ import annotations

import ast
import re
import sys
from importlib import import_module
from importlib.abc import ExecutionLoader, MetaPathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from _pytest.assertion.rewrite import rewrite_asserts
from twin import MODULES, renamed

import resilient_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType

__all__ = ["HOST", "ON_BOTH", "PACKAGE", "Loader", "begin", "beside", "twin"]

HOST = "httpx2"
PACKAGE = "on_httpx2"  # of the twins: test_auth's is on_httpx2.test_auth

TESTS = Path(__file__).parent

# ------------------------------------------------------------------------------------------------- what has a twin

_RESPX = "it mocks httpx by itself; httpx2 is mocked by way of the testing kit, in test_respx_bridge.py"
_AIOHTTP = "httpx-aiohttp is an engine for httpx"
_READS = "it reads the sources, whichever host is asked for"
_LONG = "it takes seconds, and what it is about is the same text on both hosts"

ON_BOTH: Mapping[str, Mapping[str, str]] = {
    "engines/test_engine_cancel.py": {
        "test_a_call_that_is_cancelled_after_any_number_of_steps_leaves_a_pool_of_one_usable": _AIOHTTP,
    },
    "engines/test_engine_faults.py": {},
    "engines/test_engine_proxy_tls.py": {
        "test_a_pinned_certificate_that_is_another_is_a_connect_error": _AIOHTTP,
    },
    "engines/test_engine_time.py": {
        "test_a_deadline_is_kept_whatever_drips": _LONG,
    },
    "engines/test_engine_wire.py": {},
    "engines/test_other_transports.py": {},
    "engines/test_pool_of_tasks.py": {
        "test_respx_answers_for_the_network": _RESPX,
        "test_no_place_is_ever_lost_in_a_crowd_that_is_cancelled_at_random": _LONG,
        "test_without_a_limit_everybody_has_a_connection": _LONG,
    },
    "engines/test_quickened.py": {},
    "engines/test_sockets.py": {},
    "guard/shared/test_token_auth.py": {},
    "issues/test_connect_timeout_that_was_none.py": {},
    "issues/test_found_before_release.py": {},
    "issues/test_late_body_of_an_error.py": {},
    "issues/test_observers_that_are_interrupted.py": {},
    "issues/test_secret_in_the_error_of_an_earlier_attempt.py": {},
    "issues/test_sign_in_in_the_middle_of_a_call.py": {},
    "protection/test_protection_breaker.py": {},
    "protection/test_protection_budget.py": {},
    "protection/test_protection_bulkhead.py": {},
    "protection/test_protection_hedge.py": {},
    "protection/test_protection_pace.py": {},
    "protection/test_protection_parking.py": {},
    "protection/test_protection_settings.py": {
        "test_a_client_that_is_gone_leaves_no_world_behind": _LONG,
    },
    "protection/test_protection_together.py": {},
    "test_auth.py": {
        "test_what_is_signed_is_what_is_on_the_wire": _LONG,
    },
    "test_bounds.py": {
        "test_no_call_exceeds_its_bound": _LONG,
        "test_no_call_exceeds_the_bound_of_a_shipped_policy": _LONG,
        "test_hundreds_of_rules_are_bounded_too": _LONG,
    },
    "test_flow.py": {},
    "test_hard_cases.py": {},
    "test_hostile.py": {
        "test_any_reply_is_judged_and_handed_over": _LONG,
        "test_two_thousand_hostile_replies_in_a_row_leave_the_classifier_as_it_was": _LONG,
    },
    "test_httpx_names.py": {
        "test_private_names_of_httpx_stand_in_two_files_only": _READS,
        "test_the_flow_imports_no_io": _READS,
    },
    "test_lean.py": {},
    "test_lean_generated.py": {
        "test_a_common_client_is_httpx_in_a_thread": _LONG,
        "test_a_common_client_is_httpx_in_asyncio": _LONG,
    },
    "test_lean_instrumented.py": {
        "test_respx_is_asked": _RESPX,
        "test_pytest_httpx_is_asked": _RESPX,
        "test_what_was_replaced_before_we_were_imported_is_run": _LONG,
    },
    "test_lean_shared.py": {
        "test_a_client_that_calls_ever_other_addresses_does_not_grow": _LONG,
        "test_long_addresses_are_not_kept": _LONG,
    },
    "test_lean_subclasses.py": {},
    "test_ledger_customer_verification.py": {},
    "test_ledger_default.py": {},
    "test_ledger_dual.py": {},
    "test_ledger_integration.py": {},
    "test_ledger_openpoly.py": {},
    "test_ledger_zerotrace.py": {},
    "test_observers.py": {},
    "test_pool.py": {
        "test_an_interrupt_between_any_two_steps_leaves_a_pool_of_one_usable": _LONG,
    },
    "test_public_api.py": {},
    "test_race.py": {
        "test_a_program_that_races": _LONG,
    },
    "test_redirects_cookies_hooks.py": {
        "test_respx_in_its_default_mode_goes_through_the_retries": _RESPX,
        "test_respx_in_its_default_mode_goes_through_the_retries_of_tasks": _RESPX,
        "test_a_mocked_router_handler_goes_through_the_retries": _RESPX,
    },
    "test_secrets.py": {},
    "test_streams.py": {
        "test_an_error_that_inflates_without_end_is_judged_by_its_status_in_bounded_memory": _LONG,
    },
    "test_time.py": {},
    "test_wire.py": {},
}
"""The modules that have a twin, and which of their tests are apart, with the reason: what no request goes through has none."""

# ------------------------------------------------------------------------------------------------- what is written

_OWN = {path.stem: path for path in TESTS.rglob("*.py")}  # the tests' own modules, helpers too
_SHARED = {path.stem for path in Path(resilient_client.__file__).parent.iterdir()}.difference(MODULES)
_OF_THE_LIBRARY = re.compile(r"\bresilient_client(?:\.\w+|(?= import\b))")  # in a text


def _module(name: str) -> str:
    """Give the name of a module on the other host."""
    if name in _OWN:
        return f"{PACKAGE}.{name}"
    first, *rest = renamed(name).split(".")
    if first == "resilient_client" and not _SHARED.intersection(rest[:1]):
        return ".".join([first, HOST, *rest])
    return ".".join([first, *rest])


class _Written(ast.NodeTransformer):
    """Writes the other host's names: where they are used, where they are imported, and in texts, which may be programs."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = renamed(node.id)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):
            node.value = renamed(_OF_THE_LIBRARY.sub(lambda found: _module(found.group()), node.value))
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST:
        for alias in node.names:
            if alias.name in _OWN or alias.name == "resilient_client":
                alias.asname = alias.asname or alias.name
            alias.name = _module(alias.name)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.AST]:
        assert node.module is not None, "the tests import by whole names"
        if node.module != "resilient_client":
            node.module = _module(node.module)
            return node
        shared = [alias for alias in node.names if alias.name in _SHARED]
        others = [
            ast.alias(renamed(alias.name), alias.asname and renamed(alias.asname))
            for alias in node.names
            if alias.name not in _SHARED
        ]
        imports = ((node.module, shared), (_module(node.module), others))
        return [ast.copy_location(ast.ImportFrom(name, names, 0), node) for name, names in imports if names]


# ------------------------------------------------------------------------------------------------- how it is imported


class Loader(ExecutionLoader):
    """Makes a twin's code, with pytest's asserts, from the file of the module on disk."""

    def __init__(self, path: Path, config: pytest.Config) -> None:
        self._path = path
        self._config = config

    def get_filename(self, fullname: str) -> str:
        return str(self._path)

    def get_source(self, fullname: str) -> str:
        return self._path.read_text("utf-8")

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_source(fullname)
        tree = ast.fix_missing_locations(_Written().visit(ast.parse(source)))
        rewrite_asserts(tree, source.encode(), str(self._path), self._config)
        code: CodeType = compile(tree, self._path, "exec", dont_inherit=True)
        return code


class _Finder(MetaPathFinder):
    """Finds the twins."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package != PACKAGE:
            return None
        return spec_from_file_location(fullname, _OWN[name], loader=Loader(_OWN[name], self._config))


def begin(config: pytest.Config) -> None:
    """Let the twins be imported: by one another, and by whatever unpickles what is of them."""
    package = ModuleType(PACKAGE, __doc__)
    package.__path__ = []
    sys.modules[PACKAGE] = package
    sys.meta_path.append(_Finder(config))


def beside(module: ModuleType, name: str) -> ModuleType:
    """Give a module of the tests on the host that another is on."""
    package, dot, _ = module.__name__.rpartition(".")
    return import_module(f"{package}{dot}{name}")


# ------------------------------------------------------------------------------------------------- how it is collected


class _Twin(pytest.Module):
    """A module on the other host, less the tests that are apart."""

    def _getobj(self) -> ModuleType:
        return import_module(f"{PACKAGE}.{self.path.stem}")

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        apart = ON_BOTH[self.path.relative_to(TESTS).as_posix()]
        unknown = apart.keys() - vars(self.obj).keys()
        assert not unknown, f"{self.path.name} has no {sorted(unknown)}"
        return (node for node in super().collect() if node.name.partition("[")[0] not in apart)


class _File(pytest.File):
    """What holds a twin: so its name is found, where an id is given to pytest."""

    def collect(self) -> Iterator[_Twin]:
        yield _Twin.from_parent(self, path=self.path, name=HOST, nodeid=self.nodeid)


def twin(path: Path, parent: pytest.Collector) -> pytest.File | None:
    """Collect a module for the other host; None for one that is run on httpx alone."""
    if path.relative_to(TESTS).as_posix() not in ON_BOTH:
        return None
    nodeid = f"{path.relative_to(parent.config.rootpath).as_posix()}::{HOST}"
    return _File.from_parent(parent, path=path, nodeid=nodeid)
