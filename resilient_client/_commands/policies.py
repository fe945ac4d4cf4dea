"""`resilient-client policies`: which policies come with the package."""

from __future__ import annotations

import click

from ._shared import console, json_option, loaded, print_json, print_table

__all__ = ["policies"]


@click.command()
@json_option
def policies(*, as_json: bool) -> None:
    """List the policies that come with the package.

    The exit status is 0.
    """
    from resilient_client import policy_names  # noqa: PLC0415 - not for --help

    found = [(name, loaded(name)) for name in policy_names()]
    if as_json:
        print_json(
            [
                {"name": name, "title": each.title, "rules": len(each.rules), "source": each.source}
                for name, each in found
            ]
        )
        return
    rows = [(name, str(len(each.rules)), each.title or each.api) for name, each in found]
    print_table(console(), ("name", ">rules", "API"), rows)
