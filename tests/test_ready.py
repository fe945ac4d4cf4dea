"""Compiled policies: a form says what its policy says, is used while it is true of its files, and never does any harm."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import tenacity
from click.testing import CliRunner

from resilient_client import Policy, PolicyError, ResilientClient, load_policy, outcome_of, policy_names
from resilient_client._flow import rulebook as tables
from resilient_client._flow.classify import classify
from resilient_client._flow.plain import Plain, chain, exponential, stop
from resilient_client._guard.settings import Paced, Protection
from resilient_client._ready import beside, form_of, ready
from resilient_client._rehearse import rehearse
from resilient_client._shapes import book_of, document_of
from resilient_client.cli import main
from resilient_client.loading import folder, rulebook
from resilient_client.policy import from_file
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

# All that a file can say, and none of it as it is by default.
EVERYTHING = """\
api = "acme"
title = "Acmé"
source = "https://acme.example/errors"
should_retry = "x-should-retry"

[envelope]
code = ["/error/code", "/code"]
message = "/error/message"
field = "/error/fields/*/path"
details = "/error/details"
request_id = "/id"
request_id_header = ["X-Trace", "X-Request-Id"]

[idempotency]
header = "Key"
field = "/key"
quoted = true
length = [8, 64]
routes = ["POST /v1/orders/{id}", "POST /v1/orders", "* /ping", "PUT /files/**", "PATCH **"]

[signing]
nonce = "X-Nonce"

[token]
lifetime = 3600

[override]
field = "/force"
value = { by = ["me", 1, 1.0, true, -0.5] }

[network]
retries = 2
backoff = { first = 1, factor = 3, max = 9, jitter = "none" }

[limits]
wait = 120.5
body = 1000

[[pace]]
budget = 100
burst = 10
cost = { "POST /v1/orders" = 5, "GET **" = 0.5 }

[[pace]]
routes = ["GET /search/**"]
budget = 30
per = 1.5

[protect]
budget = { capacity = 100, blind_share = 0 }
pace = true
breaker = { in_a_row = 7, slow_after = 2, park = true }
hedge = 0.1
bulkhead = { limit = { start = 5, ceiling = 50, backoff = 0.5 }, queue = 9 }

[[rules]]
name = "LIMITED"
category = "rate_limit"
cause = "Too fast: \\u2026"
remedy = "Slow down."
user_message = "Please wait."
source = "https://acme.example/errors#limited"
when = [{ status = 429 }, { status = 403, headers = { X-Left = "0", X-Reset = true, X-Other = false } }]

[rules.retry]
retries = 3
for = 90
unsafe = true
change = ["nonce", "refresh"]
requires = ["refresh"]
only_if = "token_expired"
after = [
    "retry-after-ms",
    "/error/wait",
    { header = "X-Reset", as = "epoch" },
    { body = "/error/until", as = "epoch-ms" },
    { need = "/cost/need", have = "/cost/have", rate = "/cost/rate" },
]

[[rules]]
name = "CODED"
when = { code = ["busy", 7, -7], status = ["5xx", 409], body = { "/error/kind" = "lock", "/n" = 1.0, "/m" = 1 }, route = ["POST **", "GET /a"] }
retry = { schedule = [1, 2.5, 10] }

[[rules]]
name = "FIXED"
when = { status = [200, 502, 503] }
retry = { wait = 5 }

[[rules]]
name = "GROWING"
when = { status = "4xx" }
retry = { backoff = { first = 2, factor = 4, max = 60, jitter = "none" }, after = [] }

[[rules]]
name = "LATER"
when = { code = [] }

[[rules]]
name = "ELSE"
"""

SMALL = """\
api = "acme"

[[rules]]
name = "BUSY"
when = { status = [200, 503], body = { "/why" = "busy" } }
retry = { schedule = [1, 60] }
"""


def made(place: Path, text: str) -> Path:
    """Write a policy file and its compiled form."""
    place.write_text(text, encoding="utf-8")
    write(beside(place), form_of(place))
    return place


def write(place: Path, form: str) -> None:
    place.write_text(form, encoding="utf-8")


def told(value: Any) -> Any:
    """Take a value apart, types and all, so that `==` compares what it is made of: True is not 1, nor a tuple a list."""
    kind = type(value).__name__
    if dataclasses.is_dataclass(value):
        names = {field.name for field in dataclasses.fields(value)} - {
            "_successes"
        }  # what was asked of it so far
        return kind, {name: told(getattr(value, name)) for name in names}
    if isinstance(value, tables.Pointer | tables.Routes):
        return kind, told(value.text if isinstance(value, tables.Pointer) else value.by_method)
    if isinstance(value, dict):
        return kind, {(type(key).__name__, key): told(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return kind, [told(one) for one in value]
    return kind, value


def entries(book: tables.Rulebook) -> Iterator[tables.Entry]:
    for table in (book.by_code, book.by_status):
        for each in table.values():
            yield from each


def shared(book: tables.Rulebook) -> tuple[dict[str, int], int]:
    """Tell how many objects each rule is, and how many entries there are: attempts are compared by what `is` their rule."""
    rules: dict[str, set[int]] = {}
    for _, rule, _ in entries(book):
        rules.setdefault(rule.name, set()).add(id(rule))
    return {name: len(ids) for name, ids in rules.items()}, len({id(entry) for entry in entries(book)})


# ----------------------------------------------------------------------------------------------------- what a form says


@pytest.mark.parametrize("name", policy_names())
def test_what_is_read_back_is_what_was_compiled(name: str) -> None:
    """Of every shipped policy, field by field, with as many objects."""
    read = ready(folder() / f"{name}.toml")

    assert read is not None
    assert told(read) == told(load_policy(name).rulebook)
    assert shared(read) == shared(load_policy(name).rulebook)


def test_all_that_a_file_can_say_is_read_back(tmp_path: Path) -> None:
    """Also what no shipped policy says."""
    file = made(tmp_path / "acme.toml", EVERYTHING)
    read = ready(file)

    assert read is not None
    assert told(read) == told(from_file(file).rulebook)
    assert shared(read) == shared(from_file(file).rulebook)


def test_a_form_has_every_field(tmp_path: Path) -> None:
    """A field that is new is written, or is one of those that no file can set: else a form would leave it at its default."""
    form = json.loads(form_of(made(tmp_path / "acme.toml", EVERYTHING)))
    limited, *_ = form["rules"]
    header, body, bucket = (limited["retry"]["after"][number] for number in (2, 3, 4))
    found = {
        tables.Rulebook: set(form) - {"made_by", "made_of", "rules", "entries"} | {"_successes"},
        tables.Envelope: set(form["envelope"]),
        tables.Idempotency: set(form["idempotency"]),
        tables.Rule: set(limited),
        tables.Retry: set(limited["retry"]) | {"foreign"},
        tables.Clause: set(form["entries"][0][2]),
        Paced: set(form["paces"][0]),
        Protection: set(form["protection"]) | {"shared", "scope"},
    }

    assert found == {kind: {field.name for field in dataclasses.fields(kind)} for kind in found}
    assert (set(header), set(body), set(bucket)) == (
        set(tables.HeaderHint._fields),
        set(tables.BodyHint._fields),
        set(tables.BucketHint._fields),
    )


@pytest.mark.parametrize("name", policy_names())
def test_a_form_classifies_and_waits_as_its_policy_does(name: str) -> None:
    """Every example of every shipped policy goes the same way."""
    policy, form = load_policy(name), rulebook(name)
    givens = [example.given for rule in policy.rules for example in rule.examples]
    assert givens

    for given in givens:
        ours, theirs = rehearse(form, given), rehearse(policy.rulebook, given)
        assert ours.outcome == theirs.outcome
        assert (ours.waits, ours.sleeps) == (theirs.waits, theirs.sleeps)


@pytest.mark.parametrize("name", policy_names())
def test_the_shipped_forms_are_those_of_their_policies(name: str) -> None:
    """Whoever edits a policy, or what compiles it, writes its form anew."""
    file = folder() / f"{name}.toml"

    assert beside(file).read_text(encoding="utf-8") == form_of(file), (
        f"{beside(file)} is out of date: run python tests/reference.py"
    )


def test_no_form_is_left_of_a_policy_that_is_gone() -> None:
    """Each form is one of a shipped policy."""
    assert {path.name for path in (folder() / "compiled").iterdir()} == {
        f"{name}.json" for name in policy_names()
    }


# ------------------------------------------------------------------------------------------------------ when it is used

LOADED = """\
import sys
import httpx
from resilient_client import AsyncResilientClient, ResilientClient, ResilientTransport, outcome_of

answers = {{"zerotrace": (404, {{"code": 6}}), "default": (404, None), "acme.toml": (200, {{"why": "idle"}})}}
for policy, (status, body) in answers.items():
    AsyncResilientClient(policy), ResilientTransport(policy)
    transport = httpx.MockTransport(lambda request: httpx.Response(status, json=body))
    with ResilientClient(policy, transport=transport) as client:
        response = client.get("https://api.example/", extensions={{"resilience": {{"policy": policy}}}})
    print(outcome_of(response).verdict.name)
print({{"pydantic", "tenacity", "difflib"}} & set(sys.modules))
"""


def test_a_client_loads_neither_pydantic_nor_tenacity(tmp_path: Path) -> None:
    """Shipped policies and a file's own form need neither, until something is waited for."""
    made(tmp_path / "acme.toml", SMALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOADED.format()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout.splitlines() == ["NOT_FOUND", "NOT_FOUND", "OK", "set()"]


def test_the_form_of_a_file_is_used(tmp_path: Path) -> None:
    """What the form says goes, as long as the file is as it was: here it was made to say something else."""
    file = made(tmp_path / "acme.toml", SMALL)
    write(beside(file), form_of(file).replace('"title": "acme"', '"title": "from the form"'))

    assert rulebook(file).title == "from the form"
    assert rulebook(str(file)) is rulebook(file)


def test_a_link_leads_to_the_form_of_the_file(tmp_path: Path) -> None:
    """Where the file itself is, there its form is."""
    real = tmp_path / "real"
    real.mkdir()
    file = made(real / "acme.toml", SMALL)
    write(beside(file), form_of(file).replace('"title": "acme"', '"title": "from the form"'))
    (tmp_path / "link.toml").symlink_to(file)

    assert rulebook(tmp_path / "link.toml").title == "from the form"


@pytest.mark.parametrize("old", sorted({*SMALL} - {'"', "\n"}))
def test_a_form_is_not_used_once_a_byte_of_its_file_has_changed(tmp_path: Path, old: str) -> None:
    """Whichever byte, though the size be the same."""
    file = made(tmp_path / "acme.toml", SMALL)
    assert ready(file) is not None
    file.write_text(SMALL.replace(old, "~", 1), encoding="utf-8")

    assert ready(file) is None


def test_what_a_file_says_after_a_change_goes(tmp_path: Path) -> None:
    """Nobody has to compile it again for that."""
    file = made(tmp_path / "acme.toml", SMALL)
    assert rulebook(file).api == "acme"
    file.write_text(SMALL.replace("acme", "emca"), encoding="utf-8")

    assert rulebook(file).api == "emca"


def family(folder: Path) -> tuple[Path, Path, Path]:
    """Write a policy that extends another, in a folder of its own, that extends a third beside it, that extends a shipped one."""
    deeper = folder / "shared"
    deeper.mkdir(parents=True)
    (deeper / "oldest.toml").write_text('extends = "dual"\ntitle = "Oldest"\n', encoding="utf-8")
    (deeper / "middle.toml").write_text('extends = "oldest.toml"\n', encoding="utf-8")
    youngest = made(folder / "youngest.toml", 'extends = "shared/middle.toml"\n')
    return youngest, deeper / "middle.toml", deeper / "oldest.toml"


def test_a_form_is_made_of_all_that_its_policy_extends(tmp_path: Path) -> None:
    """Files of one's own are found from one another, wherever they lie together; a shipped policy is found by its name."""
    youngest, *_ = family(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    moved = tmp_path / "there" / youngest.name
    read = ready(moved)

    assert read is not None
    assert told(read) == told(from_file(moved).rulebook)


@pytest.mark.parametrize("place", [1, 2])
def test_a_form_is_not_used_once_what_its_policy_extends_has_changed(tmp_path: Path, place: int) -> None:
    """However far up."""
    files = family(tmp_path / "here")
    assert ready(files[0]) is not None
    files[place].write_text(files[place].read_text(encoding="utf-8") + "\n", encoding="utf-8")

    assert ready(files[0]) is None


def test_a_form_is_not_used_without_what_its_policy_extends(tmp_path: Path) -> None:
    """That is for the policy's own error to say."""
    youngest, _, oldest = family(tmp_path / "here")
    oldest.unlink()

    assert ready(youngest) is None
    with pytest.raises(PolicyError, match="oldest"):
        rulebook(youngest)


def test_nothing_is_written_for_a_client(tmp_path: Path) -> None:
    """There is a form where somebody has asked for one, and nowhere else."""
    file = tmp_path / "acme.toml"
    file.write_text(SMALL, encoding="utf-8")
    ResilientClient(file).close()

    assert [path.name for path in tmp_path.iterdir()] == ["acme.toml"]


def test_a_policy_that_is_in_hand_needs_no_file() -> None:
    """A policy made in Python is compiled as it always was; so is one that was loaded."""
    policy = Policy.model_validate({"api": "acme", "rules": [{"name": "BUSY", "when": {"status": 503}}]})
    transport = httpx.MockTransport(lambda _: httpx.Response(503))

    with ResilientClient(policy, transport=transport, clock=VirtualClock()) as client:
        assert outcome_of(client.get("https://api.example/")).verdict.name == "BUSY"
    assert rulebook(policy) is policy.rulebook


# ------------------------------------------------------------------------------------------------- forms that are no good

BROKEN: dict[str, Any] = {
    "empty": lambda _: b"",
    "no JSON": lambda _: b"api = 1",
    "not UTF-8": lambda form: b"\xff" + form,
    "a list": lambda form: b"[" + form + b"]",
    "null": lambda _: b"null",
    "a text": lambda _: b'"acme"',
    "deeply nested": lambda _: b"[" * 200_000,
    "a long number": lambda form: form.replace(b"65536", b"6" * 5000),
    "another version": lambda form: form.replace(b"resilient_client ", b"resilient_client 9"),
    "another format": lambda form: form.replace(b", format ", b", format 9"),
    "no version": lambda form: form.replace(b'"made_by"', b'"made_with"'),
    "no sources": lambda form: form.replace(b'"made_of"', b'"made_from"'),
    "of no file": lambda form: changed(form, made_of=[]),
    "of another file": lambda form: changed(form, made_of=[["dual", *of("dual")]]),
    "of a file that is none": lambda form: also(form, ["\x00.toml", 1, ""]),
    "of a name that is none": lambda form: also(form, ["duel", 1, ""]),
    "of a folder": lambda form: also(form, ["..toml", 1, ""]),
    "of a digest that is none": lambda form: changed(form, made_of=[["", len(SMALL), None]]),
    "true for a number": lambda form: changed(form, body_limit=True),
    "a table more": lambda form: changed(form, hooks=["os.system"]),
    "a table less": lambda form: form.replace(b'"title"', b'"subtitle"'),
    "a rule that is not there": lambda form: changed(form, rules=[]),
    "an entry that is not there": lambda form: changed(form, by_code=[[7, [99]]]),
}


def of(name: str) -> list[Any]:
    """Give the size and the digest of a shipped policy."""
    own: list[Any] = json.loads((folder() / "compiled" / f"{name}.json").read_bytes())["made_of"][0][1:]
    return own


def changed(form: bytes, **tables: Any) -> bytes:
    return json.dumps(json.loads(form) | tables).encode()


def also(form: bytes, source: list[Any]) -> bytes:
    return changed(form, made_of=[*json.loads(form)["made_of"], source])


@pytest.mark.parametrize("kind", BROKEN)
def test_a_form_that_is_no_good_is_as_if_it_were_not_there(tmp_path: Path, kind: str) -> None:
    """Whatever has become of it."""
    file = made(tmp_path / "acme.toml", SMALL)
    (tmp_path / "..toml").mkdir()
    beside(file).write_bytes(BROKEN[kind](beside(file).read_bytes()))

    assert ready(file) is None
    assert told(rulebook(file)) == told(from_file(file).rulebook)


def test_a_form_that_is_cut_off_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    """Wherever it ends, short of its last brace."""
    file = made(tmp_path / "acme.toml", SMALL)
    whole = beside(file).read_bytes().rstrip()
    for size in range(0, len(whole), 7):
        beside(file).write_bytes(whole[:size])
        assert ready(file) is None


def test_a_folder_in_the_place_of_a_form_is_passed_over(tmp_path: Path) -> None:
    """It cannot be read, which is nobody's error."""
    file = tmp_path / "acme.toml"
    file.write_text(SMALL, encoding="utf-8")
    beside(file).mkdir()

    assert rulebook(file).api == "acme"


ODD: list[Any] = [
    None,
    True,
    0,
    1,
    -1,
    2**70,
    0.5,
    -0.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\ud800",
    [],
    [[]],
    {},
    {"x": 1},
]
REPLIES = [
    (200, b'{"why": "busy", "error": {"code": 7}}'),
    (429, b"{}"),
    (503, b'{"code": "busy"}'),
    (409, b""),
]


def everywhere(node: Any) -> Iterator[tuple[Any, Any]]:
    """Name each place in a document: what it is in, and where."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from everywhere(value)


def test_whatever_stands_in_a_form_it_is_refused_or_works(tmp_path: Path) -> None:
    """Each value is put in each place: none of them makes reading raise anything but ValueError, nor classifying raise at all."""
    file = made(tmp_path / "acme.toml", EVERYTHING)
    document = json.loads(beside(file).read_bytes())
    del document["made_by"], document["made_of"]
    accepted = refused = 0
    for node, key in everywhere(document):
        as_it_was = node[key]
        for odd in ODD:
            node[key] = odd
            try:
                book = book_of(document)
            except ValueError:
                refused += 1
                continue
            accepted += 1
            for status, body in REPLIES:
                headers = httpx.Headers({"X-Left": "0", "X-Reset": "17", "retry-after-ms": "5"})
                classify(book, status, headers, body, method="POST", path="/v1/orders/7", now=0.0)
            assert all(pace.cost("POST", "/v1/orders") >= 0 for pace in book.paces)
            assert book.idempotency.routes.match("POST", "/v1/orders") in {True, False}
        node[key] = as_it_was

    assert (accepted > 100, refused > 1000) == (True, True)


def test_what_only_python_can_hold_is_not_written() -> None:
    """The error names the rule, and what it is."""
    wait = tenacity.wait_fixed(3)
    policy = Policy.model_validate({"api": "acme", "rules": [{"name": "BUSY", "retry": {"wait": wait}}]})

    with pytest.raises(ValueError, match='rule "BUSY": a compiled policy cannot hold this wait_fixed'):
        document_of(policy.rulebook)


# -------------------------------------------------------------------------------------------------------- waits in numbers


def state(attempt: int, seconds: float) -> Any:
    """Make what tenacity's objects are asked with, after so many attempts in so many seconds."""
    made_up = tenacity.RetryCallState(tenacity.Retrying(), fn=None, args=(), kwargs={})
    made_up.start_time, made_up.attempt_number, made_up.outcome_timestamp = 0.0, attempt, seconds
    return made_up


@pytest.mark.parametrize(
    ("plain", "theirs"),
    [
        (chain([3.0]), tenacity.wait_fixed(3)),
        (chain([1.0, 5.0]), tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(5))),
        (exponential(0.5, 3.0, 9.0), tenacity.wait_exponential(multiplier=0.5, exp_base=3, max=9)),
        (stop(3, None), tenacity.stop_after_attempt(3)),
        (stop(None, 2.5), tenacity.stop_after_delay(2.5)),
        (stop(3, 2.5), tenacity.stop_after_attempt(3) | tenacity.stop_after_delay(2.5)),
    ],
    ids=lambda value: value.kind if isinstance(value, Plain) else "",
)
def test_waits_in_numbers_answer_as_tenacitys_own(plain: Plain, theirs: Any) -> None:
    """At any attempt, at any time."""
    states = [state(attempt, seconds) for attempt in (1, 2, 3, 7) for seconds in (0.0, 2.0, 4.0)]

    assert [plain(one) for one in states] == [theirs(one) for one in states]


# ------------------------------------------------------------------------------------------------------------ the command


def run(*arguments: str) -> Result:
    """Run the command as somebody at a shell would."""
    done = CliRunner().invoke(main, ["compile", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a policy file in it."""
    monkeypatch.chdir(tmp_path)
    Path("acme.toml").write_text(SMALL, encoding="utf-8")
    return Path("acme.toml").resolve()


def test_compile_writes_the_form_beside_the_file(acme: Path) -> None:
    """It says so, and the form is good."""
    done = run("acme.toml")

    assert (done.exit_code, done.stdout) == (0, "acme.toml: acme.compiled.json is written\n")
    assert beside(acme).read_text(encoding="utf-8") == form_of(acme)
    assert ready(acme) is not None


def test_check_tells_a_form_that_is_missing_from_one_that_is_late(acme: Path) -> None:
    """It exits with 1 for both, with 0 for one that is up to date, and writes nothing."""
    missing = run("--check", "acme.toml")
    run("acme.toml")
    good = run("--check", "acme.toml")
    acme.write_text(SMALL.replace("60", "61"), encoding="utf-8")
    before = beside(acme).read_bytes()
    late = run("--check", "acme.toml")

    assert [done.exit_code for done in (missing, good, late)] == [1, 0, 1]
    assert "is missing; resilient-client compile acme.toml writes it" in missing.stdout
    assert "is up to date" in good.stdout
    assert "is out of date" in late.stdout
    assert beside(acme).read_bytes() == before


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SMALL.replace("schedule", "shedule"), '"schedule"'),
        ('extends = "bad.toml"\n', "cannot start from itself"),
        (SMALL.replace('"busy"', "2020-01-01"), 'rule "BUSY": a compiled policy cannot hold this date'),
    ],
)
def test_compile_of_a_file_that_cannot_be_compiled_says_why(text: str, said: str) -> None:
    """On stderr, exit status 2, and there is no form."""
    Path("bad.toml").write_text(text, encoding="utf-8")
    done = run("bad.toml")

    assert (done.exit_code, done.stdout) == (2, "")
    assert "bad.toml" in done.stderr
    assert said in done.stderr
    assert not Path("bad.compiled.json").exists()


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("arguments", [[], ["nowhere.toml"], ["zerotrace"]])
def test_compile_of_what_is_no_file_exits_with_2(arguments: list[str]) -> None:
    """A shipped policy's name is none: those are compiled already."""
    assert run(*arguments).exit_code == 2


def test_a_form_that_cannot_be_written_is_told(acme: Path) -> None:
    """With its place, exit status 2."""
    beside(acme).mkdir()
    done = run("acme.toml")

    assert done.exit_code == 2
    assert "acme.compiled.json: cannot be written" in done.stderr


def test_help_of_compile_loads_nothing_heavy() -> None:
    """It answers at once, and says what the exit status means."""
    code = "import sys\nfrom resilient_client.cli import main\ntry:\n    main()\nexcept SystemExit:\n    print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, "compile", "--help"],
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=True,
    )

    assert "The exit status is 0" in " ".join(done.stdout.split())
    assert {"httpx", "pydantic", "tenacity", "rich.console"}.isdisjoint(done.stderr.split())
