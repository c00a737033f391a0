"""The command ``nlbs-preprocess``: options in, one function call, a summary out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nlbs import __version__, options
from nlbs.command import Finite, Group, entry_point
from nlbs.options import count_option, out_option, shards_option
from nlbs.paths import LOCAL_PATH, PATH, AnyPath
from nlbs.preprocess.cli_look import LOOK
from nlbs.preprocess.options import (
    SECTIONS,
    about_options,
    asked_table,
    build_options,
    check_container,
    compression_option,
    cut_options,
    decode_options,
    decoder_option,
    overwrite_option,
    patch_options,
    source_options,
    table_options,
    workers_options,
)
from nlbs.text import counted

if TYPE_CHECKING:
    from nlbs.preprocess.workers import Workers

#: In the order of work.
COMMANDS = {
    "Make a dataset": ("phantom", "preflight", "build-shards", "merge", "append"),
    "Cut it otherwise": ("reshard", "convert"),
    "Look at it": ("view", "verify", "info", "report", "preview", "card"),
    "Of nlbs-generate's samples": ("to-dicom",),
}


@click.group(
    cls=Group,
    sections=SECTIONS,
    command_sections=COMMANDS,
    epilog="nlbs-preprocess COMMAND --help shows what a command takes. Begin with build-shards; without data, with "
    "phantom.",
)
@click.version_option(__version__)
def cli() -> None:
    """Decode mammograms once and cut them into shards for nlbs-train."""


for _command in LOOK:
    cli.add_command(_command)


@cli.command("build-shards")
@table_options
@source_options
@out_option("The dataset root to make or to continue.")
@click.option("--resolution", default=256, show_default=True, help="Edge of a patch in pixels.")
@click.option("--stride", type=int, help="Distance between patches in pixels.  [default: 512]")
@patch_options
@click.option(
    "--dtype",
    type=click.Choice(["uint8", "uint16"]),
    default="uint8",
    show_default=True,
    help="What grey values are stored as.",
)
@decode_options
@overwrite_option
@click.option(
    "--part",
    metavar="I/N",
    help="Decode one part only, such as 3/16, beside other machines; merge finishes the build.  [default: all of it]",
)
@about_options
@click.option(
    "--dry-run",
    is_flag=True,
    help="Write nothing; say how long the build would take and how large it would be, by a few images that are decoded "
    "for a moment.",
)
def build_shards_command(part: str | None, dry_run: bool, **asked: Any) -> None:
    """Decode every image of a CSV once and cut patches into shards.

    The CSV has a header such as

    \b
      File Path,Image Laterality,View Position,Age,Cancer,False Positive
      abnormal\\109430185503\\left\\CC\\IM-0019-0002-0001.dcm,L,CC,66,0,0

    Tables of other public datasets are recognised too. Empty cells are unknown; the DICOM header may
    fill view, side and age, and nothing else does. Files that cannot be used are named in images.csv
    with the reason. Run the same command again to continue a build that was stopped.
    """
    from nlbs.preprocess.build import build_shards, rehearse
    from nlbs.preprocess.parts import build_part, parse_part
    from nlbs.preprocess.report.summary import build_summary, part_summary

    if part is not None and (dry_run or asked["licence"] or asked["name"]):
        raise click.UsageError(
            "--dry-run, --license and --name are of the whole build, not of a part: nlbs-preprocess card says the last "
            "two after merge."
        )
    options = build_options(asked, cut_options(asked))
    lines = (
        rehearse(options)
        if dry_run
        else build_summary(build_shards(options))
        if part is None
        else part_summary(build_part(options, parse_part(part)))
    )
    for line in lines:
        click.echo(line)


@cli.command("merge")
@shards_option("The dataset root that build-shards --part filled.")
@workers_options
@overwrite_option
def merge_command(shards: AnyPath, workers: "Workers", overwrite: bool) -> None:
    """Finish a build whose parts several machines decoded: check, write the tables, cut the shard set."""
    from nlbs.preprocess.parts import merge
    from nlbs.preprocess.report.summary import build_summary

    for line in build_summary(merge(shards, workers, overwrite)):
        click.echo(line)


@cli.command("append")
@table_options
@source_options
@out_option("The dataset root to add them to.")
@click.option(
    "--shard-set",
    metavar="NAME",
    help="Name of the only set to cut, such as r256-s512.  [default: all of the root]",
)
@click.option(
    "--changed",
    type=click.Choice(["error", "keep"]),
    default="error",
    show_default=True,
    help="Where the table now says otherwise about an image that is there already: stop, or keep what is there.",
)
def append_command(shard_set: str | None, changed: str, **asked: Any) -> None:
    """Add images to a dataset root: new shards, old ones untouched.

    Give the options of the build that concern its table, its split and its key. Images that are
    there already are kept as they are, patients keep their split. Each shard set
    gets a new generation; the one before stays readable. Run the same command again to continue.
    """
    from nlbs.preprocess.append import append
    from nlbs.preprocess.report.summary import append_summary

    options = build_options(asked)
    for line in append_summary(append(options, changed, shard_set), options.out):
        click.echo(line)


@cli.command("preflight")
@table_options
@decoder_option
@click.option(
    "--all", "every", is_flag=True, help="Look at every file, not at a sample of 2000, or of 64 objects."
)
def preflight_command(decoder: str, every: bool, **asked: Any) -> None:
    """List the transfer syntaxes of a CSV's files, and the decoder of each; no pixel is read."""
    from nlbs.errors import DatasetError
    from nlbs.manifests.tables.table import read_table
    from nlbs.preprocess.root.found_files import found_files
    from nlbs.preprocess.root.preflight import paths_of_rows, preflight, preflight_lines

    csvs = asked["csv_paths"]
    root = asked["images"] or csvs[0].parent
    if not root.is_dir():
        raise DatasetError(f"there is no folder {root}: check --images")
    table = found_files(read_table(csvs, options=asked_table(asked), images=root), root)
    paths = paths_of_rows(table.rows, root)
    for note in table.notes:
        click.echo(note)
    for line in preflight_lines(preflight(paths, decoder, len(paths) if every else None)):
        click.echo(line)


@cli.command("reshard")
@shards_option("The dataset root, with images.zarr in it.")
@click.option(
    "--preset",
    type=click.Choice(["high", "balanced", "fast"]),
    help="Resolution and stride by name: high, 512 and 256; balanced, 256 and 512; fast, 128 and 1024.  "
    "[default: balanced]",
)
@click.option("--resolution", type=int, help="Edge of a patch in pixels.  [default: the preset's]")
@click.option("--stride", type=int, help="Distance between patches in pixels.  [default: the preset's]")
@patch_options
@click.option(
    "--dtype",
    type=click.Choice(["uint8", "uint16"]),
    help="What grey values are stored as.  [default: as in the images]",
)
@workers_options
@overwrite_option
def reshard_command(
    shards: AnyPath, dtype: str | None, workers: "Workers", overwrite: bool, **asked: Any
) -> None:
    """Cut another shard set from the decoded images; no DICOM is opened."""
    from nlbs.preprocess.build import reshard
    from nlbs.preprocess.report.summary import cut_summary

    for line in cut_summary(reshard(shards, cut_options(asked, dtype), workers, overwrite)):
        click.echo(line)


@cli.command("convert")
@shards_option("A shard set, or a dataset root with one.")
@click.option(
    "--to", "container", type=click.Choice(["tar", "zarr"]), required=True, help="The new container."
)
@compression_option
@click.option("--out", type=PATH, help="The new folder.  [default: beside the old one]")
@workers_options
@options.overwrite_option("Write anew where another shard set stands.")
def convert_command(
    shards: AnyPath,
    container: str,
    compression: str,
    out: AnyPath | None,
    workers: "Workers",
    overwrite: bool,
) -> None:
    """Move a shard set to another container; needs nothing but its shards, and changes no pixel."""
    check_container(container, compression)
    from nlbs.preprocess.report.summary import cut_summary
    from nlbs.preprocess.sets.convert import ConvertOptions, convert

    options = ConvertOptions(container, compression, out, workers, overwrite)
    for line in cut_summary(convert(shards, options)):
        click.echo(line)


@cli.command("to-dicom")
@click.option(
    "--samples", type=LOCAL_PATH, required=True, help="What nlbs-generate wrote: pictures, or a shard set."
)
@out_option("Folder for the DICOM files.", local=True)
@options.overwrite_option("Replace files of other patches that stand in --out.")
def to_dicom_command(samples: Path, out: Path, overwrite: bool) -> None:
    """Write synthetic patches as DICOM secondary captures with Synthetic Data (0008,001C) = YES.

    Real patches are refused. The same command continues where it was interrupted. Needs nlbs-cvae[dicom].
    """
    from nlbs.preprocess.to_dicom import write_captures

    count = write_captures(samples, out, overwrite)
    click.echo(f"{counted(count, 'secondary capture')}, marked as synthetic, in {out}")


@cli.command("phantom")
@out_option("Folder for DICOM files, meta.csv and truth.csv.", local=True)
@count_option("--patients", 20, "Patients to draw, of four images each.", least=1)
@count_option("--seed", 0, "Another number draws other patients.")
@click.option("--rows", default=3062, show_default=True, help="Rows of an image; fewer are quicker.")
@click.option("--columns", default=2394, show_default=True, help="Columns of an image.")
@click.option(
    "--cancer-share",
    type=Finite(0, 1),
    default=0.15,
    show_default=True,
    help="Share of the patients that have a cancer, in one breast each.",
)
@click.option(
    "--false-positive-share",
    type=Finite(0, 1),
    default=0.15,
    show_default=True,
    help="Share of the patients with a false positive, never those with a cancer.",
)
@click.option(
    "--transfer-syntax",
    metavar="NAME",
    help="Of all files: jpeg-lossless, jpeg2000, jpeg-ls, rle or explicit.  [default: each in turn]",
)
@click.option("--jobs", default=-1, help="Worker processes on this machine.  [default: one per core]")
def phantom_command(out: Path, cancer_share: float, false_positive_share: float, **asked: Any) -> None:
    """Draw a synthetic screening set in the NLBS layout, for tests and for people without data."""
    from nlbs.preprocess.phantom.patient import Findings
    from nlbs.preprocess.phantom.screening_set import write_phantom

    made = write_phantom(out, **asked, findings=Findings(cancer_share, false_positive_share))
    click.echo(
        f"{made.images} images of {counted(made.patients, 'patient')}: {made.cancer_patients} with cancer, "
        f"{made.false_positive_patients} false positive, {made.unknown_age_patients} of unknown age"
    )
    click.echo(f"Table   {made.meta}")
    click.echo(f"Truth   {made.meta.with_name('truth.csv')}")


main = entry_point(cli)
