"""`resilient-client policies`: which policies come with the package."""

from __future__ import annotations

import click

from ._shared import console, json_option, loaded, print_json

__all__ = ["policies"]


@click.command()
@json_option
def policies(*, as_json: bool) -> None:
    """List the policies that come with the package."""
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
    from rich.table import Table  # noqa: PLC0415 - not for --help

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("name", "API", "rules"):
        table.add_column(heading, justify="right" if heading == "rules" else "left", no_wrap=heading != "API")
    table.add_column("source", overflow="fold")
    for name, each in found:
        table.add_row(name, each.title or each.api, str(len(each.rules)), each.source)
    console().print(table)
