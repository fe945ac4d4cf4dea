"""Finding policies: by name among the shipped ones, by path anywhere. Light to import; pydantic comes with one that is not compiled."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._flow.rulebook import Rulebook
    from .policy import Policy

__all__ = ["PolicyError", "load_policy", "policy_names", "resolved", "rulebook"]

DEFAULT = "default"


class PolicyError(ValueError):
    """A policy cannot be used. The message names the file, the place in it and the mend."""


def folder() -> Path:
    """Give the folder of the shipped policies: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "policies"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "policies"


def policy_names() -> tuple[str, ...]:
    """List the shipped policies by name, in alphabetical order."""
    return tuple(sorted(path.stem for path in folder().glob("*.toml")))


def load_policy(name_or_path: str | Path) -> Policy:
    """Load a policy: a shipped one by its name, or a file by its path.

    A string is a path when it ends in `.toml` or holds a path separator. Shipped policies are read once.

    Raises:
        PolicyError: there is none of that name, or the file cannot be read or says what a policy cannot say.
    """
    if not isinstance(name_or_path, str | Path):
        raise PolicyError(f"a policy is given by name or path, not as {type(name_or_path).__name__}")
    if _is_path(name_or_path):
        return _file(Path(name_or_path))
    return _shipped(str(name_or_path))


def base_file(extends: str, beside: Path) -> Path | None:
    """Give the file that a policy file extends: a shipped name's, or one that is named from the folder of that file; else None."""
    if extends in policy_names():
        return folder() / f"{extends}.toml"
    return beside / extends if extends.endswith(".toml") else None


def resolved(policy: str | Path | Policy | None) -> Policy:
    """Give the policy, however it is named; a file that has not changed is not read again.

    Raises:
        PolicyError: it is none, or cannot be used.
    """
    if policy is None:
        return _shipped(DEFAULT)
    if isinstance(policy, str | Path):
        path = Path(policy)
        if _is_path(policy) and path.is_file():
            stat = path.stat()
            return _unchanged(path.resolve(), stat.st_mtime_ns, stat.st_size)
        return load_policy(policy)
    if not hasattr(policy, "rulebook"):
        raise PolicyError(
            f"policy must be a name, a path, a Policy or None, not {type(policy).__name__}; "
            f"the shipped names are {', '.join(policy_names())}"
        )
    return policy


def rulebook(policy: str | Path | Policy | None) -> Rulebook:
    """Give the compiled form of a policy, however it is named; a file that has not changed is not read again.

    Where the policy's file has been compiled ahead, and is as it was then, pydantic is not needed and not loaded.

    Raises:
        PolicyError: it is none, or cannot be used.
    """
    if policy is None:
        return _shipped_rules(DEFAULT)
    if isinstance(policy, str | Path):
        path = Path(policy)
        if not _is_path(policy):
            return _shipped_rules(str(policy))
        if path.is_file():
            stat = path.stat()
            return _unchanged_rules(path.resolve(), stat.st_mtime_ns, stat.st_size)
    return resolved(policy).rulebook


def _is_path(policy: str | Path) -> bool:
    return isinstance(policy, Path) or policy.endswith(".toml") or "/" in policy or "\\" in policy


@lru_cache(maxsize=64)
def _unchanged(path: Path, _mtime_ns: int, _size: int) -> Policy:
    return _file(path)


@lru_cache(maxsize=64)
def _unchanged_rules(path: Path, mtime_ns: int, size: int) -> Rulebook:
    from ._ready import ready  # noqa: PLC0415 - it is read when a policy is

    found = ready(path)
    return _unchanged(path, mtime_ns, size).rulebook if found is None else found


@lru_cache
def _shipped(name: str) -> Policy:
    return _file(_named(name))


@lru_cache
def _shipped_rules(name: str) -> Rulebook:
    from ._ready import ready  # noqa: PLC0415 - it is read when a policy is

    found = ready(_named(name))
    return _shipped(name).rulebook if found is None else found


def _named(name: str) -> Path:
    """Give the file of a shipped policy."""
    names = policy_names()
    if name not in names:
        import difflib  # noqa: PLC0415 - for those who mistype

        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f' Did you mean "{near[0]}"?' if near else ""
        raise PolicyError(
            f'no policy "{name}".{hint} Shipped: {", ".join(names) or f"none, in {folder()}"}. '
            "For a file of your own, give its path, ending in .toml."
        )
    return folder() / f"{name}.toml"


def _file(path: Path) -> Policy:
    from .policy import from_file  # noqa: PLC0415 - it brings pydantic

    return from_file(path)
