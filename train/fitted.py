"""Whether what is fitted to a run's model is there already."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nlbs.errors import CheckpointError
from nlbs.train.stream import PatchStream

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def identity_of(options: "DataclassInstance", stream: PatchStream) -> dict[str, Any]:
    """Gives by what a fit is known again: its options, and its patches from the start of the stream."""
    return {"options": dataclasses.asdict(options), "stream": stream.state() | {"epoch": 0, "step": 0}}


def is_there(
    kind: str, path: Path, identity: Mapping[str, Any], metadata: Callable[[], Mapping[str, Any]]
) -> bool:
    """Says whether a file is what would be fitted; where it is something else, a line says that it is fitted anew.

    Args:
        kind: of what is fitted, in words.
        path: the file.
        identity: the options and the patches that it has to be of.
        metadata: reads what the file says of itself, for the model at hand; may raise CheckpointError.
    """
    if not path.exists():
        return False
    try:
        before = metadata()
    except CheckpointError as error:
        click.echo(f"{error}; it is fitted anew")
        return False
    same = all(before.get(key) == value for key, value in identity.items())
    if not same:
        click.echo(f"the {kind} was fitted with other options or to other patches; it is fitted anew")
    return same
