"""`resilient-client schema`: the format of a policy file, for editors."""

from __future__ import annotations

import click

__all__ = ["schema"]


@click.command()
def schema() -> None:
    """Print the JSON Schema of a policy file."""
    from resilient_client.policy import json_schema  # noqa: PLC0415 - only this command needs pydantic

    click.echo(json_schema(), nl=False)
