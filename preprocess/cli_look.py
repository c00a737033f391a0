"""The commands of ``nlbs-preprocess`` that look at what is there, and change nothing but what is damaged."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nlbs.command import Command
from nlbs.options import count_option, out_option, shards_option
from nlbs.paths import LOCAL_PATH, AnyPath
from nlbs.preprocess.options import about_options, workers_options
from nlbs.text import counted

if TYPE_CHECKING:
    from nlbs.preprocess.workers import Workers

_command = partial(click.command, cls=Command)


@_command("info")
@shards_option("A shard set, or a dataset root.")
@count_option(
    "--batch-size", 64, "Patches of a batch, to tell how well it mixes images and patients.", least=1
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="For programs: a JSON object, sizes in bytes; a list of them where --shards holds several shard sets.",
)
def info_command(shards: AnyPath, batch_size: int, as_json: bool) -> None:
    """Say what shard sets hold: sizes, counts per condition and split, how well a batch mixes.

    Of a dataset root, all its shard sets.
    """
    import json

    from nlbs.errors import ShardError
    from nlbs.preprocess.root.root_sets import info_of_sets, lines_of_sets

    infos = info_of_sets(shards, batch_size)
    if as_json:
        click.echo(json.dumps(infos if len(infos) > 1 else infos[0], indent=1))
    else:
        for line in lines_of_sets(infos):
            click.echo(line)
    bad = [info["shard_set"] for info in infos if "error" in info]
    if bad:
        raise ShardError(f"{len(bad)} of {counted(len(infos), 'shard set')} cannot be read: {', '.join(bad)}")


@_command("report")
@shards_option("A dataset root with one shard set, or a shard set in one.")
@out_option("The HTML page to write: one file, nothing beside it.")
@count_option("--images", 24, "Images to show at most.")
@count_option("--patches", 12, "Patches to show of each split, and of each value of a condition.")
@count_option("--seed", 0, "Another number chooses others.")
def report_command(shards: AnyPath, out: AnyPath, images: int, patches: int, seed: int) -> None:
    """Write one HTML page for a person: what was read and skipped, counts, masks, outliers, doubles."""
    from nlbs.preprocess.report.page import write_report

    for line in write_report(shards, out, images, patches, seed):
        click.echo(line)


@_command("verify")
@shards_option("A shard set, or a dataset root.")
@click.option(
    "--repair", is_flag=True, help="Restore what is damaged from the decoded images: the same bytes."
)
@workers_options
def verify_command(shards: AnyPath, repair: bool, workers: "Workers") -> None:
    """Read every byte of shard sets and name what is not as it was written.

    Of a dataset root, all its shard sets. Exit code 1: something is damaged.
    """
    from nlbs.preprocess.root.root_sets import verify_sets

    verify_sets(shards, workers if repair else None, click.echo)


@_command("preview")
@shards_option("A dataset root with one shard set, or a shard set.")
@out_option("Folder for patches.png and images.png.")
@count_option("--images", 24, "Images to show at most.", least=1)
@count_option("--patches", 96, "Patches to show at most.", least=1)
@count_option("--seed", 0, "Another number chooses others.")
def preview_command(shards: AnyPath, out: AnyPath, images: int, patches: int, seed: int) -> None:
    """Draw contact sheets: patches at random, and images with mask and patch grid."""
    from nlbs.preprocess.report.preview import write_preview

    patch_page, image_page = write_preview(shards, out, images, patches, seed)
    click.echo(f"Patches   {patch_page}")
    click.echo(f"Images    {image_page}")


@_command("card")
@shards_option("A shard set, or a dataset root: all its sets.")
@about_options
def card_command(shards: AnyPath, licence: str | None, name: str | None) -> None:
    """Write the data card of a shard set anew: README.md for people, croissant.json for programs.

    Every shard set gets both when it is made. What you wrote into README.md outside the marks stays.
    """
    from nlbs.card import About
    from nlbs.preprocess.build import write_cards

    for path in write_cards(shards, About(licence, name)):
        click.echo(f"data card: {path}")


@_command("view")
@shards_option("A shard set, or a dataset root with one; also one that is being built.")
@click.option(
    "--runs",
    type=LOCAL_PATH,
    help="A run folder, or a folder of them.  [default: runs beside the dataset or in this folder]",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="To listen on; 0: a free one."
)
@click.option("--no-browser", is_flag=True, help="Only say where the page is.")
def view_command(shards: AnyPath, runs: Path | None, port: int, no_browser: bool) -> None:
    """Look at a shard set in the browser: patches by a filter, images, flags, skipped rows, counts, runs.

    The page is on this machine alone (127.0.0.1), and changes nothing. Needs nlbs-cvae[view].
    """
    from nlbs.preprocess.view.server import serve

    serve(shards, runs, port, not no_browser)


LOOK = (info_command, report_command, verify_command, preview_command, card_command, view_command)
