"""The command ``nlbs-preprocess``: options in, one function call, a summary out."""

from pathlib import Path
from typing import Any

import click

from nlbs import __version__
from nlbs.command import Finite, Group, entry_point
from nlbs.paths import LOCAL_PATH, PATH, AnyPath
from nlbs.preprocess.options import (
    COMPRESSION,
    SECTIONS,
    asked_table,
    build_options,
    check_container,
    cut_options,
    patch_options,
    source_options,
    table_options,
    workers_options,
)

_DECODER_HELP = (
    "pylibjpeg is the reference; imagecodecs is faster; auto takes the faster one wherever both give the same "
    "pixels."
)
#: In the order of work.
COMMANDS = {
    "Make a dataset": ("phantom", "preflight", "build-shards", "merge", "append"),
    "Cut it otherwise": ("reshard", "convert"),
    "Look at it": ("verify", "info", "report", "preview"),
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


@cli.command("build-shards")
@table_options
@source_options
@click.option("--out", type=PATH, required=True, help="The dataset root to make or to continue.")
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
@click.option(
    "--voi",
    type=click.Choice(["auto", "lut", "window", "range"]),
    default="auto",
    show_default=True,
    help="What makes pixels visible: the VOI LUT of the header, its window, or the breast's own range; auto is the "
    "first of these that there is.",
)
@click.option(
    "--decoder",
    type=click.Choice(["auto", "imagecodecs", "pylibjpeg"]),
    default="auto",
    show_default=True,
    help=_DECODER_HELP,
)
@click.option(
    "--frame",
    metavar="N|middle",
    help="Of a multi-frame file: a number from 1, or middle.  [default: such files are refused]",
)
@click.option(
    "--keep-background",
    is_flag=True,
    help="Leave labels and noise outside the breast as they are, in place of air.",
)
@click.option(
    "--overwrite", is_flag=True, help="Cut anew where a shard set of other images or options stands."
)
@click.option(
    "--part",
    metavar="I/N",
    help="Decode one part only, such as 3/16, beside other machines; merge finishes the build.  [default: all of it]",
)
def build_shards_command(
    resolution: int,
    stride: int | None,
    min_foreground: float | None,
    mode: str,
    spacing_mm: float | None,
    unknown_spacing: str | None,
    container: str,
    compression: str,
    dtype: str,
    voi: str,
    decoder: str,
    frame: str | None,
    keep_background: bool,
    overwrite: bool,
    part: str | None,
    **asked: Any,
) -> None:
    """Decode every image of a CSV once and cut patches into shards.

    The CSV has a header such as

    \b
      File Path,Image Laterality,View Position,Age,Cancer,False Positive
      abnormal\\109430185503\\left\\CC\\IM-0019-0002-0001.dcm,L,CC,66,0,0

    Tables of other public datasets are recognised too. Empty cells are unknown; the DICOM header may
    fill view, side and age, and nothing else does. Files that cannot be used are named in images.csv
    with the reason. Run the same command again to continue a build that was stopped.
    """
    from nlbs.preprocess.build import build_shards
    from nlbs.preprocess.formats.frames import parse_frame
    from nlbs.preprocess.images.decode import DecodeOptions
    from nlbs.preprocess.parts import build_part, parse_part
    from nlbs.preprocess.report.summary import build_summary, part_summary

    cut = cut_options(
        resolution,
        stride,
        min_foreground,
        mode=mode,
        spacing_mm=spacing_mm,
        unknown_spacing=unknown_spacing,
        container=container,
        compression=compression,
    )
    decode = DecodeOptions(dtype, voi, decoder, keep_background, parse_frame(frame))
    options = build_options(**asked, decode=decode, cut=cut, overwrite=overwrite)
    lines = (
        build_summary(build_shards(options))
        if part is None
        else part_summary(build_part(options, parse_part(part)))
    )
    for line in lines:
        click.echo(line)


@cli.command("merge")
@click.option("--shards", type=PATH, required=True, help="The dataset root that build-shards --part filled.")
@workers_options
@click.option(
    "--overwrite", is_flag=True, help="Cut anew where a shard set of other images or options stands."
)
def merge_command(shards: AnyPath, jobs: int, backend: str, scheduler: str | None, overwrite: bool) -> None:
    """Finish a build whose parts several machines decoded: check, write the tables, cut the shard set."""
    from nlbs.preprocess.parts import merge
    from nlbs.preprocess.report.summary import build_summary
    from nlbs.preprocess.workers import Workers

    for line in build_summary(merge(shards, Workers(jobs, backend, scheduler), overwrite)):
        click.echo(line)


@cli.command("append")
@table_options
@source_options
@click.option("--out", type=PATH, required=True, help="The dataset root to add them to.")
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

    options = build_options(**asked)
    for line in append_summary(append(options, changed, shard_set), options.out):
        click.echo(line)


@cli.command("preflight")
@table_options
@click.option(
    "--decoder",
    type=click.Choice(["auto", "imagecodecs", "pylibjpeg"]),
    default="auto",
    show_default=True,
    help=_DECODER_HELP,
)
@click.option(
    "--all", "every", is_flag=True, help="Look at every file, not at a sample of 2000, or of 64 objects."
)
def preflight_command(decoder: str, every: bool, images: AnyPath | None, **asked: Any) -> None:
    """List the transfer syntaxes of a CSV's files, and the decoder of each; no pixel is read."""
    from nlbs.errors import DatasetError
    from nlbs.manifests.tables.table import read_table
    from nlbs.preprocess.root.found_files import found_files
    from nlbs.preprocess.root.preflight import paths_of_rows, preflight, preflight_lines

    csvs = asked.pop("csv_paths")
    root = images or csvs[0].parent
    if not root.is_dir():
        raise DatasetError(f"there is no folder {root}: check --images")
    table = found_files(read_table(csvs, options=asked_table(**asked), images=root), root)
    paths = paths_of_rows(table.rows, root)
    for note in table.notes:
        click.echo(note)
    for line in preflight_lines(preflight(paths, decoder, len(paths) if every else None)):
        click.echo(line)


@cli.command("reshard")
@click.option("--shards", type=PATH, required=True, help="The dataset root, with images.zarr in it.")
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
@click.option(
    "--overwrite", is_flag=True, help="Cut anew where a shard set of other images or options stands."
)
def reshard_command(
    shards: AnyPath,
    preset: str | None,
    resolution: int | None,
    stride: int | None,
    min_foreground: float | None,
    mode: str,
    spacing_mm: float | None,
    unknown_spacing: str | None,
    container: str,
    compression: str,
    dtype: str | None,
    jobs: int,
    backend: str,
    scheduler: str | None,
    overwrite: bool,
) -> None:
    """Cut another shard set from the decoded images; no DICOM is opened."""
    from nlbs.preprocess.build import reshard
    from nlbs.preprocess.images.grid import CUT_PRESETS
    from nlbs.preprocess.report.summary import cut_summary
    from nlbs.preprocess.workers import Workers

    preset_resolution, preset_stride = CUT_PRESETS[preset or "balanced"]
    options = cut_options(
        preset_resolution if resolution is None else resolution,
        stride,
        min_foreground,
        preset_stride,
        dtype,
        mode=mode,
        spacing_mm=spacing_mm,
        unknown_spacing=unknown_spacing,
        container=container,
        compression=compression,
    )
    for line in cut_summary(reshard(shards, options, Workers(jobs, backend, scheduler), overwrite)):
        click.echo(line)


@cli.command("convert")
@click.option("--shards", type=PATH, required=True, help="A shard set, or a dataset root with one.")
@click.option(
    "--to", "container", type=click.Choice(["tar", "zarr"]), required=True, help="The new container."
)
@COMPRESSION
@click.option("--out", type=PATH, help="The new folder.  [default: beside the old one]")
@workers_options
@click.option("--overwrite", is_flag=True, help="Write anew where another shard set stands.")
def convert_command(
    shards: AnyPath,
    container: str,
    compression: str,
    out: AnyPath | None,
    jobs: int,
    backend: str,
    scheduler: str | None,
    overwrite: bool,
) -> None:
    """Move a shard set to another container; needs nothing but its shards, and changes no pixel."""
    check_container(container, compression)
    from nlbs.preprocess.report.summary import cut_summary
    from nlbs.preprocess.sets.convert import ConvertOptions, convert
    from nlbs.preprocess.workers import Workers

    options = ConvertOptions(container, compression, out, Workers(jobs, backend, scheduler), overwrite)
    for line in cut_summary(convert(shards, options)):
        click.echo(line)


@cli.command("info")
@click.option("--shards", type=PATH, required=True, help="A shard set, or a dataset root.")
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Patches of a batch, to tell how well it mixes images and patients.",
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
        raise ShardError(f"{len(bad)} of {len(infos)} shard sets cannot be read: {', '.join(bad)}")


@cli.command("report")
@click.option(
    "--shards", type=PATH, required=True, help="A dataset root with one shard set, or a shard set in one."
)
@click.option("--out", type=PATH, required=True, help="The HTML page to write: one file, nothing beside it.")
@click.option(
    "--images", type=click.IntRange(0), default=24, show_default=True, help="Images to show at most."
)
@click.option(
    "--patches",
    type=click.IntRange(0),
    default=12,
    show_default=True,
    help="Patches to show of each split, and of each value of a condition.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Another number chooses others."
)
def report_command(shards: AnyPath, out: AnyPath, images: int, patches: int, seed: int) -> None:
    """Write one HTML page for a person: what was read and skipped, counts, masks, outliers, doubles."""
    from nlbs.preprocess.report.page import write_report

    for line in write_report(shards, out, images, patches, seed):
        click.echo(line)


@cli.command("verify")
@click.option("--shards", type=PATH, required=True, help="A shard set, or a dataset root.")
@click.option(
    "--repair", is_flag=True, help="Restore what is damaged from the decoded images: the same bytes."
)
@workers_options
def verify_command(shards: AnyPath, repair: bool, jobs: int, backend: str, scheduler: str | None) -> None:
    """Read every byte of shard sets and name what is not as it was written.

    Of a dataset root, all its shard sets. Exit code 1: something is damaged.
    """
    from nlbs.preprocess.root.root_sets import verify_sets
    from nlbs.preprocess.workers import Workers

    verify_sets(shards, Workers(jobs, backend, scheduler) if repair else None, click.echo)


@cli.command("preview")
@click.option("--shards", type=PATH, required=True, help="A dataset root with one shard set, or a shard set.")
@click.option("--out", type=PATH, required=True, help="Folder for patches.png and images.png.")
@click.option(
    "--images", type=click.IntRange(1), default=24, show_default=True, help="Images to show at most."
)
@click.option(
    "--patches", type=click.IntRange(1), default=96, show_default=True, help="Patches to show at most."
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Another number chooses others."
)
def preview_command(shards: AnyPath, out: AnyPath, images: int, patches: int, seed: int) -> None:
    """Draw contact sheets: patches at random, and images with mask and patch grid."""
    from nlbs.preprocess.report.preview import write_preview

    patch_page, image_page = write_preview(shards, out, images, patches, seed)
    click.echo(f"Patches   {patch_page}")
    click.echo(f"Images    {image_page}")


@cli.command("to-dicom")
@click.option(
    "--samples", type=LOCAL_PATH, required=True, help="What nlbs-generate wrote: pictures, or a shard set."
)
@click.option("--out", type=LOCAL_PATH, required=True, help="Folder for the DICOM files.")
@click.option("--overwrite", is_flag=True, help="Replace files of other patches that stand in --out.")
def to_dicom_command(samples: Path, out: Path, overwrite: bool) -> None:
    """Write synthetic patches as DICOM secondary captures with Synthetic Data (0008,001C) = YES.

    Real patches are refused. The same command continues where it was interrupted. Needs nlbs-cvae[dicom].
    """
    from nlbs.preprocess.to_dicom import write_captures

    count = write_captures(samples, out, overwrite)
    click.echo(f"{count:,} secondary captures, marked as synthetic, in {out}")


@cli.command("phantom")
@click.option("--out", type=LOCAL_PATH, required=True, help="Folder for DICOM files, meta.csv and truth.csv.")
@click.option(
    "--patients",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Patients to draw, of four images each.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Another number draws other patients.",
)
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
def phantom_command(
    out: Path, patients: int, seed: int, rows: int, columns: int, cancer_share: float,
    false_positive_share: float, transfer_syntax: str | None, jobs: int,
) -> None:  # fmt: skip
    """Draw a synthetic screening set in the NLBS layout, for tests and for people without data."""
    from nlbs.preprocess.phantom.patient import Findings
    from nlbs.preprocess.phantom.screening_set import write_phantom

    findings = Findings(cancer_share, false_positive_share)
    made = write_phantom(out, patients, seed, rows, columns, jobs, transfer_syntax, findings)
    click.echo(
        f"{made.images} images of {made.patients} patients: {made.cancer_patients} with cancer, "
        f"{made.false_positive_patients} false positive, {made.unknown_age_patients} of unknown age"
    )
    click.echo(f"Table   {made.meta}")
    click.echo(f"Truth   {made.meta.with_name('truth.csv')}")


main = entry_point(cli)
