"""Faults as users write them: every form that there is, and one clear line for every mistake."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from plain import ask, order

from resilient_client.sandbox import Request, Sandbox, every_fault, read_faults
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from pathlib import Path

    from resilient_client.sandbox import Faults

CREATE = "POST /v1/create"
QR = "POST /v1/qr"


def draws(faults: Faults, many: int, route: str = CREATE) -> list[str | None]:
    return [faults(route, Request.of("POST", "/api/v1/create", [], b"")) for _ in range(many)]


def first_draws(faults: Faults, many: int) -> list[str | None]:
    """Draw once for each of many calls."""
    heads = ([(b"X-Sandbox-Call", str(number).encode())] for number in range(many))
    return [faults(CREATE, Request.of("POST", "/api/v1/create", head, b"")) for head in heads]


def read(spec: float | str | Path, seed: int = 7) -> Faults:
    return read_faults(spec, "zerotrace", seed=seed)


def file_of(folder: Path, text: str) -> Path:
    path = folder / "faults.toml"
    path.write_text(text, encoding="utf-8")
    return path


# --- a rate


@pytest.mark.parametrize("spec", [0.3, "0.3", " .3 ", "0.30"])
def test_rate_is_of_any_fault_there_is(spec: float | str) -> None:
    """A number, written or not, is a share of all requests, by every fault that the API has."""
    drawn = Counter(draws(read(spec), 5000))

    assert set(drawn) == {None, *every_fault("zerotrace")}
    assert 5000 - drawn[None] == pytest.approx(1500, abs=130)


@pytest.mark.parametrize("spec", [1, "1", "1.0"])
def test_rate_of_1_is_always(spec: float | str) -> None:
    """A whole number is a rate too."""
    assert None not in draws(read(spec), 200)


def test_seed_settles_what_is_read() -> None:
    """The same text with the same seed is the same faults."""
    assert draws(read(0.5), 50) == draws(read("0.5"), 50) != draws(read(0.5, seed=8), 50)


# --- a line


def test_names_have_rates_of_their_own() -> None:
    """Each kind comes as often as its rate says."""
    drawn = Counter(draws(read("lose=0.1, RATE_LIMIT:2 = 0.3, reset=0"), 5000))

    assert set(drawn) == {None, "lose", "RATE_LIMIT:2"}
    assert drawn["lose"] == pytest.approx(500, abs=90)
    assert drawn["RATE_LIMIT:2"] == pytest.approx(1500, abs=130)


def test_rates_may_add_up_to_1() -> None:
    """Ten tenths are one, whatever floats make of them."""
    tenths = ", ".join(f"{kind}=0.1" for kind in every_fault("zerotrace")[:10])

    assert None not in draws(read(tenths), 500)


def test_rates_of_0_are_no_faults() -> None:
    """A line may switch everything off."""
    assert set(draws(read("lose=0, reset=0.0"), 200)) == {None}


@pytest.mark.parametrize(
    "line", ["POST /v1/create = lose, RATE_LIMIT:2, -, reset", "POST /v1/create=lose,RATE_LIMIT:2,-,reset"]
)
def test_route_has_a_plan(line: str) -> None:
    """The n-th request gets the n-th fault, a dash is none, and what lies past the end is none."""
    faults = read(line)

    assert draws(faults, 5) == ["lose", "RATE_LIMIT:2", None, "reset", None]
    assert draws(faults, 1, QR) == [None]


def test_route_has_a_rate() -> None:
    """A rate on one route spares the others."""
    faults = read("POST /v1/create = 1.0")

    assert None not in draws(faults, 50)
    assert set(draws(faults, 50, QR)) == {None}


def test_first_clause_with_a_fault_counts() -> None:
    """Clauses are separated by semicolons, and empty ones are nothing."""
    faults = read(" POST /v1/create = lose, - ; ; reset=1.0;")

    assert draws(faults, 3) == ["lose", "reset", "reset"]


def test_clauses_share_no_draws() -> None:
    """A later clause has its rate of what the earlier ones left; the first draws as if it were alone."""
    drawn = first_draws(read("lose=0.1; reset=0.2; close=0.5"), 5000)
    counts = Counter(drawn)

    assert counts["lose"] == pytest.approx(500, abs=90)
    assert counts["reset"] == pytest.approx(900, abs=110)
    assert counts["close"] == pytest.approx(1800, abs=140)
    assert [fault == "lose" for fault in drawn] == [
        fault == "lose" for fault in first_draws(read("lose=0.1"), 5000)
    ]


def test_clause_may_be_for_one_api() -> None:
    """What begins with another API's name is skipped, whatever that API has that this one has not."""
    line = "zerotrace: POST /v1/create = lose, RATE_LIMIT:2; dual: GET /templates = 1.0; integration:  reset=1; POST /v1/qr = close"

    assert draws(read(line), 3) == ["lose", "RATE_LIMIT:2", None]
    assert draws(read(line), 1, QR) == ["close"]
    assert draws(read("dual: reset=1"), 3) == [None] * 3


# --- a file


def test_file_has_a_table_for_each_clause(tmp_path: Path) -> None:
    """A script on a route, a rate with names, weights, routes and seed: all that a line can say, and more."""
    path = file_of(
        tmp_path,
        """
        [[faults]]
        route = "POST /v1/create"
        script = ["lose", "RATE_LIMIT:2", "-"]

        [[faults]]
        rate = 1
        kinds = { reset = 3, close = 1 }
        routes = ["POST /v1/qr"]

        [[faults]]
        rate = 0.5
        kinds = ["UPSTREAM_ERROR"]
        seed = 99
        """,
    )
    faults = read(path)
    qr = Counter(draws(read(path), 400, QR))

    assert draws(faults, 2) == ["lose", "RATE_LIMIT:2"]
    assert set(draws(faults, 50)) == {None, "UPSTREAM_ERROR"}
    assert set(qr) == {"reset", "close"}
    assert qr["reset"] == pytest.approx(300, abs=40)
    assert draws(read(path, seed=1), 50) == draws(read(path, seed=2), 50)


def test_table_needs_a_rate_only(tmp_path: Path) -> None:
    """Without kinds it is any fault, and without a seed that of the sandbox."""
    path = file_of(tmp_path, "[[faults]]\nrate = 0.5\n")

    assert draws(read(path), 100) == draws(read(0.5), 100)


def test_tables_share_no_draws(tmp_path: Path) -> None:
    """Unless each has a seed of its own, a later one has its rate of what the earlier ones left."""
    table = "[[faults]]\nrate = 0.2\nkinds = ['{}']\n{}\n"
    apart = file_of(tmp_path, table.format("lose", "") + table.format("reset", ""))
    drawn = Counter(first_draws(read(apart), 5000))
    together = file_of(tmp_path, table.format("lose", "seed = 1") + table.format("reset", "seed = 1"))

    assert drawn["lose"] == pytest.approx(1000, abs=115)
    assert drawn["reset"] == pytest.approx(800, abs=105)
    assert set(first_draws(read(together), 500)) == {None, "lose"}


def test_table_may_be_for_one_api(tmp_path: Path) -> None:
    """A table that names another API is skipped, by chance or by plan."""
    path = file_of(
        tmp_path,
        """
        [[faults]]
        api = "zerotrace"
        route = "POST /v1/create"
        script = ["lose"]

        [[faults]]
        api = "dual"
        rate = 1
        routes = ["GET /templates"]
        """,
    )

    assert draws(read(path), 2) == ["lose", None]
    assert set(draws(read_faults(path, "dual"), 5, "GET /templates")) - {None}


def test_text_that_ends_with_toml_is_a_path(tmp_path: Path) -> None:
    """On a command line, a path is a text."""
    path = file_of(tmp_path, '[[faults]]\nroute = "POST /v1/qr"\nscript = ["lose"]\n')

    assert draws(read(f" {path} "), 1, QR) == ["lose"]


# --- mistakes


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "faults: nothing is there; give a rate as in 0.3, or names with rates as in lose=0.1"),
        (" ; ", "faults: nothing is there"),
        ("1.5", r"a rate of faults is from 0 to 1 \(got 1.5\)"),
        ("-0.5", "faults: '-0.5' is neither a rate, nor NAME=RATE, nor METHOD /path = NAME, …"),
        ("lose", "faults: 'lose' is neither a rate, nor NAME=RATE"),
        ("lose=often", "faults: 'lose=often' is neither a rate"),
        ("lose=0.1,", "faults: '' is neither a rate"),
        ("loose=0.1", "no such fault in the zerotrace sandbox: 'loose'; there are close, reset, .*INTERNAL"),
        ("lose=0.6, reset=0.5", "faults: the rates add up to 1.1, and 1 is all requests"),
        ("lose=0.1, lose=0.2", "faults: lose has two rates; give it one"),
        ("dula: lose=0.1", "there is no sandbox for 'dula'; there is one for customer_verification, dual"),
        ("dual: loose=0.1", "no such fault in the dual sandbox: 'loose'; there are close"),
        ("GET /templates = lose", 'no such route .*; a clause for one API alone begins as in "zerotrace: lose=0.1"$'),
        ("loose=0.1", 'no such fault .*; a clause for one API alone begins as in "zerotrace: lose=0.1"$'),
        ("lose:2=0.1", "fault 'lose:2': lose takes no seconds"),
        ("INVALID_REQUEST#9=0.1", "no such fault in the zerotrace sandbox: INVALID_REQUEST#9; it has 2 examples"),
        ("POST /v1/create = loose", "no such fault in the zerotrace sandbox: 'loose'"),
        ("POST /v1/create =", "no such fault in the zerotrace sandbox: ''"),
        ("POST /v1/create = lose,,reset", "no such fault in the zerotrace sandbox: ''"),
        ("POST /v1/create = 2", "from 0 to 1"),
        ("POST /v1/crate = lose", "no such route in the zerotrace sandbox: 'POST /v1/crate'; there are .*POST /v1/create"),
        ("POST /api/v1/create = lose", "no such route in the zerotrace sandbox: 'POST /api/v1/create'"),
        ("post /v1/create = lose", "is neither a rate, nor NAME=RATE, nor METHOD /path = NAME, …"),
    ],
)  # fmt: skip
def test_mistake_in_a_line_is_one_clear_line(line: str, complaint: str) -> None:
    """It names what is wrong, and says what would be right."""
    with pytest.raises(ValueError, match=complaint) as caught:
        read(line)

    assert "\n" not in str(caught.value)


SHAPES = "; a table has a route and a script, or a rate (and routes, kinds, seed)"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", ": faults: field required; each clause is a table [[faults]]"),
        ("faults = []", ": faults is empty; each clause is a table [[faults]]"),
        ("[faults]\nrate = 0.3", ": faults: input should be a valid list (got {'rate': 0.3}); each clause is a table [[faults]]"),
        ("faults = [0.3]", ": faults: input should be a valid dictionary (got 0.3); each clause is a table [[faults]]"),
        ("seed = 3\n[[faults]]\nrate = 0.3", ": seed: extra inputs are not permitted (got 3); each clause is a table [[faults]]"),
        ("[[faults]]", f", faults 1: rate: field required{SHAPES}"),
        ("[[faults]]\nscript = ['lose']", f", faults 1: route: field required{SHAPES}"),
        ("[[faults]]\nroute = 'POST /v1/qr'", f", faults 1: script: field required{SHAPES}"),
        ("[[faults]]\nroute = 'POST /v1/qr'\nscript = 'lose'", f", faults 1: script: input should be a valid list (got 'lose'){SHAPES}"),
        ("[[faults]]\nroute = 'POST /v1/qr'\nscript = [1]", f", faults 1: script: input should be a valid string (got 1){SHAPES}"),
        ("[[faults]]\nrate = true", f", faults 1: rate: input should be a valid number (got True){SHAPES}"),
        ("[[faults]]\nrate = '0.3'", f", faults 1: rate: input should be a valid number (got '0.3'){SHAPES}"),
        ("[[faults]]\nrate = 0.3\nrates = 1", f", faults 1: rates: extra inputs are not permitted (got 1){SHAPES}"),
        ("[[faults]]\nrate = 0.3\nroutes = 'POST /v1/qr'", f", faults 1: routes: input should be a valid list (got 'POST /v1/qr'){SHAPES}"),
        ("[[faults]]\nrate = 0.3\nkinds = 'lose'", f", faults 1: kinds: input should be a valid list (got 'lose'){SHAPES}"),
        ("[[faults]]\nrate = 0.3\nseed = 1.5", f", faults 1: seed: input should be a valid integer (got 1.5){SHAPES}"),
        ("[[faults]]\nrate = 1.5", ", faults 1: a rate of faults is from 0 to 1 (got 1.5)"),
        ("[[faults]]\nrate = 0.3\nkinds = []", ", faults 1: kinds of faults: at least one is needed, and each weight is above 0"),
        ("[[faults]]\nrate = 0.3\nkinds = {lose = -1}", ", faults 1: kinds of faults: at least one is needed, and each weight is above 0"),
    ],
)  # fmt: skip
def test_mistake_in_a_file_is_one_clear_line(tmp_path: Path, text: str, complaint: str) -> None:
    """It names the file, the table and what is wrong, and says what would be right."""
    path = file_of(tmp_path, text)

    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared below
        read(path)

    assert str(caught.value) == f"{path}{complaint}"


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("rate = 0.3\nkinds = ['loose']", "faults 2: no such fault in the zerotrace sandbox: 'loose'; there are close"),
        ("rate = 0.3\nkinds = {loose = 1}", "faults 2: no such fault in the zerotrace sandbox: 'loose'; there are close"),
        ("rate = 0.3\nroutes = ['POST /v1/crate']", "faults 2: no such route in the zerotrace sandbox: 'POST /v1/crate'; there are POST"),
        ("route = 'POST /v1/crate'\nscript = []", "faults 2: no such route in the zerotrace sandbox: 'POST /v1/crate'; there are POST"),
        ("api = 'dual'\nroute = 'POST /v1/create'\nscript = []", "faults 2: no such route in the dual sandbox: 'POST /v1/create'; there are"),
        ("route = 'v1/create'\nscript = []", 'faults 2: a route is written "METHOD /path"'),
        ("route = 'POST /v1/qr'\nscript = ['loose']", "faults 2: no such fault in the zerotrace sandbox: 'loose'; there are close"),
    ],
)  # fmt: skip
def test_what_the_api_does_not_have_is_found_in_a_file(tmp_path: Path, table: str, complaint: str) -> None:
    """Which table it is in counts from 1."""
    path = file_of(tmp_path, f"[[faults]]\nrate = 0.1\n[[faults]]\n{table}\n")

    with pytest.raises(ValueError, match=r"no such|METHOD") as caught:
        read(path)

    assert str(caught.value).startswith(f"{path}, {complaint}")


def test_file_that_is_no_toml_is_a_value_error(tmp_path: Path) -> None:
    """The line names the file, and the place in it."""
    with pytest.raises(ValueError, match=r"faults\.toml: .*\(at line 2, column 8\)$"):
        read(file_of(tmp_path, "[[faults]]\nrate = ?\n"))


def test_what_another_api_has_is_told_how_to_be_kept_apart(tmp_path: Path) -> None:
    """A table without a name is for all; the line ends with the way to say that it is for one."""
    with pytest.raises(
        ValueError, match=r'no such route .*; a table for one API alone says so, as in api = "zerotrace"$'
    ):
        read(file_of(tmp_path, "[[faults]]\nrate = 1\nroutes = ['GET /templates']\n"))
    with pytest.raises(ValueError, match="faults 1: there is no sandbox for 'dula'; there is one for"):
        read(file_of(tmp_path, "[[faults]]\nrate = 1\napi = 'dula'\n"))


def test_file_that_is_nested_too_deeply_is_a_value_error(tmp_path: Path) -> None:
    """However deep it is, the answer is one line that names the file."""
    with pytest.raises(ValueError, match=r"faults\.toml: it is nested too deeply to be a file of faults$"):
        read(file_of(tmp_path, f"x = {'[' * 10_000}"))


def test_file_that_is_no_utf_8_is_a_value_error(tmp_path: Path) -> None:
    """The line names the file."""
    path = tmp_path / "faults.toml"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(ValueError, match=r"faults\.toml: 'utf-8' codec can't decode"):
        read(path)


def test_file_that_cannot_be_opened_is_an_os_error(tmp_path: Path) -> None:
    """As with any file, and its name is told."""
    with pytest.raises(FileNotFoundError, match=r"nowhere\.toml"):
        read(str(tmp_path / "nowhere.toml"))
    with pytest.raises(OSError, match=str(tmp_path)):
        read(tmp_path)


def test_bool_is_no_rate() -> None:
    """True is a number to Python, and a slip to everybody else."""
    with pytest.raises(TypeError, match=r"faults: a rate, a text or a path \(got True\)"):
        read(True)  # noqa: FBT003 - that it is one is what this is about


# --- where it is used


@pytest.mark.parametrize("form", ["line", "path", "text"])
def test_sandbox_takes_what_a_user_writes(tmp_path: Path, form: str) -> None:
    """A rate, a line or a file goes straight into `faults=`, and is of the sandbox's seed."""
    path = file_of(tmp_path, '[[faults]]\nroute = "GET /v1/order"\nscript = ["html-503"]\n')
    forms: dict[str, str | Path] = {"line": "GET /v1/order = html-503", "path": path, "text": str(path)}
    with Sandbox("zerotrace", faults=forms[form]).client() as client:
        response = client.get("/v1/order", extensions={"resilience": {"retry": False}})

    assert response.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("rate", [0, 0.3, 1])
def test_sandbox_takes_a_number(rate: float) -> None:
    """A number is a rate of any fault."""
    api = Sandbox("zerotrace", clock=VirtualClock(), faults=rate)
    ask(api, "sync", *(order(api) for _ in range(40)))

    assert len(api.state.injected) == pytest.approx(40 * rate, abs=0 if rate in {0, 1} else 10)


def test_sandbox_passes_its_seed_on() -> None:
    """Faults by rate follow from the seed of the sandbox."""

    def injected(seed: int) -> list[str | None]:
        api = Sandbox("zerotrace", seed=seed, faults="MAINTENANCE=0.5")
        with api.client() as client:
            for _ in range(30):
                client.get("/v1/codes", extensions={"resilience": {"retry": False}})
        return [seen.fault for seen in api.state.requests]

    assert injected(1) == injected(1) != injected(2)
