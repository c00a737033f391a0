"""The command ``nlbs-preprocess``: options in, one function call, a summary out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nlbs import __version__
from nlbs.command import Finite, entry_point
from nlbs.paths import LOCAL_PATH, PATH, AnyPath
from nlbs.preprocess.options import (
    COMPRESSION,
    asked_table,
    build_options,
    check_container,
    cut_options,
    patch_options,
    source_options,
    table_options,
    workers_options,
)

if TYPE_CHECKING:
    from nlbs.preprocess.workers import Workers


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """Decodes mammograms once and cuts them into shards for nlbs-train."""


@cli.command("build-shards")
@table_options
@source_options
@click.option("--out", type=PATH, required=True, help="The dataset root to make or to continue.")
@click.option("--resolution", default=256, show_default=True, help="Edge of a patch in pixels.")
@click.option("--stride", type=int, help="Distance between patches in pixels.  [default: 512]")
@patch_options
@click.option("--dtype", type=click.Choice(["uint8", "uint16"]), default="uint8", show_default=True)
@click.option(
    "--voi",
    type=click.Choice(["auto", "lut", "window", "range"]),
    default="auto",
    show_default=True,
    help="Which VOI makes pixels visible: auto is the LUT sequence, else the window, else the breast's own range.",
)
@click.option(
    "--decoder",
    type=click.Choice(["auto", "imagecodecs", "pylibjpeg"]),
    default="auto",
    show_default=True,
    help="pylibjpeg is the reference; imagecodecs is faster and gives the same pixels.",
)
@click.option(
    "--frame",
    help="Of a multi-frame file: a number from 1, or middle.  [default: such files are refused]",
)
@click.option(
    "--keep-background", is_flag=True, help="Leave labels and noise outside the breast; default is air."
)
@click.option(
    "--overwrite", is_flag=True, help="Cut anew where a shard set of other images or options stands."
)
@click.option(
    "--part", help="Decode one part only, such as 3/16, beside other machines; merge finishes the build."
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
      File AnyPath,Image Laterality,View Position,Age,Cancer,False Positive
      abnormal\\109430185503\\left\\CC\\IM-0019-0002-0001.dcm,L,CC,66,0,0

    Tables of other public datasets are recognised too. Empty cells are unknown; the DICOM header may
    fill view, side and age, and nothing else does. Files that cannot be used are named in images.csv
    with the reason. Run the same command again to continue a build that was stopped.
    """
    from nlbs.preprocess.build import build_shards
    from nlbs.preprocess.decode import DecodeOptions
    from nlbs.preprocess.formats.frames import parse_frame
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
    "--shard-set", help="Name of the only set to cut, such as r256-s512.  [default: all of the root]"
)
@click.option(
    "--changed",
    type=click.Choice(["error", "keep"]),
    default="error",
    show_default=True,
    help="Where the table says otherwise about an image that is there: stop, or keep what is there.",
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
    help="As for build-shards.",
)
@click.option(
    "--all", "every", is_flag=True, help="Look at every file, not at a sample of 2000, or of 64 objects."
)
def preflight_command(decoder: str, every: bool, images: AnyPath | None, **asked: Any) -> None:
    """List the transfer syntaxes of a CSV's files, and the decoder of each; no pixel is read."""
    from nlbs.errors import DatasetError
    from nlbs.manifests.table import read_table
    from nlbs.preprocess.found_files import found_files
    from nlbs.preprocess.preflight import paths_of_rows, preflight, preflight_lines

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
    help="high: 512 pixels, stride 256. balanced: 256, 512. fast: 128, 1024.",
)
@click.option("--resolution", type=int, help="Edge of a patch in pixels; over the preset.  [default: 256]")
@click.option(
    "--stride", type=int, help="Distance between patches in pixels; over the preset.  [default: 512]"
)
@patch_options
@click.option(
    "--dtype", type=click.Choice(["uint8", "uint16"]), help="Of the patches.  [default: that of the images]"
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
    from nlbs.preprocess.grid import CUT_PRESETS
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
    from nlbs.preprocess.convert import ConvertOptions, convert
    from nlbs.preprocess.report.summary import cut_summary
    from nlbs.preprocess.workers import Workers

    options = ConvertOptions(container, compression, out, Workers(jobs, backend, scheduler), overwrite)
    for line in cut_summary(convert(shards, options)):
        click.echo(line)


@cli.command("info")
@click.option("--shards", type=PATH, required=True, help="A shard set, or a dataset root: all of its sets.")
@click.option(
    "--batch-size", type=click.IntRange(1), default=64, show_default=True, help="For the mix of a batch."
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="For machines: one JSON object, of several sets a list of them; sizes in bytes.",
)
def info_command(shards: AnyPath, batch_size: int, as_json: bool) -> None:
    """Say what a shard set holds: sizes, counts per condition and split, how well a batch mixes."""
    import json

    from nlbs.preprocess.report.info import info_lines, shard_set_info
    from nlbs.shards import open_shards
    from nlbs.shards.layout import find_shard_sets

    infos = []
    for folder in find_shard_sets(shards):
        with open_shards(folder) as shard_set:
            infos.append(shard_set_info(shard_set, batch_size))
    if as_json:
        click.echo(json.dumps(infos if len(infos) > 1 else infos[0], indent=1))
        return
    for number, info in enumerate(infos):
        for line in ([""] if number else []) + info_lines(info):
            click.echo(line)


@cli.command("report")
@click.option(
    "--shards", type=PATH, required=True, help="A dataset root with one shard set, or a shard set in one."
)
@click.option("--out", type=PATH, required=True, help="The HTML page to write; one file, nothing beside it.")
@click.option(
    "--images", type=click.IntRange(0), default=24, show_default=True, help="Pictures of images at most."
)
@click.option(
    "--patches", type=click.IntRange(0), default=12, show_default=True, help="Patches per split and value."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Chooses which.")
def report_command(shards: AnyPath, out: AnyPath, images: int, patches: int, seed: int) -> None:
    """Write one HTML page for a person: what was read and skipped, counts, masks, outliers, doubles."""
    from nlbs.preprocess.report.page import write_report

    for line in write_report(shards, out, images, patches, seed):
        click.echo(line)


@cli.command("verify")
@click.option("--shards", type=PATH, required=True, help="A shard set, or a dataset root: all of its sets.")
@click.option(
    "--repair", is_flag=True, help="Restore what is damaged from the decoded images: the same bytes."
)
@workers_options
def verify_command(shards: AnyPath, repair: bool, jobs: int, backend: str, scheduler: str | None) -> None:
    """Read every byte of shard sets and name what is not as it was written."""
    from nlbs.errors import ShardError
    from nlbs.preprocess.workers import Workers
    from nlbs.shards.layout import find_shard_sets

    workers = Workers(jobs, backend, scheduler)
    damaged = {folder: _damaged(folder, workers if repair else None) for folder in find_shard_sets(shards)}
    wrong = [f"{count} files of {folder}" for folder, count in damaged.items() if count]
    if wrong:
        raise ShardError(f"{' and '.join(wrong)} are damaged: --repair restores them")


def _damaged(folder: AnyPath, repairers: "Workers | None") -> int:
    """Say what of a shard set is damaged, and have it restored by ``repairers``; return how many files are still."""
    from nlbs.shards.verify import damages

    found = list(damages(folder))
    for damage in found:
        click.echo(f"{folder / damage.name} {damage.what}")
    if found and repairers is not None:
        from nlbs.preprocess.repair import repair

        repair(folder, repairers)
        found = list(damages(folder))
        click.echo(f"{folder} is restored" if not found else f"{folder} could not be restored")
    if not found:
        click.echo(f"{folder}: every byte is as it was written")
    return len(found)


@cli.command("preview")
@click.option("--shards", type=PATH, required=True, help="A dataset root with one shard set, or a shard set.")
@click.option("--out", type=PATH, required=True, help="Folder for patches.png and images.png.")
@click.option(
    "--images", type=click.IntRange(1), default=24, show_default=True, help="Images to show at most."
)
@click.option(
    "--patches", type=click.IntRange(1), default=96, show_default=True, help="Patches to show at most."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Chooses which.")
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
@click.option("--overwrite", is_flag=True, help="Replace files of other patches.")
def to_dicom_command(samples: Path, out: Path, overwrite: bool) -> None:
    """Write synthetic patches as DICOM secondary captures with Synthetic Data (0008,001C) = YES.

    Real patches are refused. The same call goes on where it was interrupted. Needs nlbs-cvae[dicom].
    """
    from nlbs.preprocess.capture import write_captures

    count = write_captures(samples, out, overwrite)
    click.echo(f"{count:,} secondary captures, marked as synthetic, in {out}")


@cli.command("phantom")
@click.option(
    "--out", type=LOCAL_PATH, required=True, help="Folder for the DICOM files, meta.csv and truth.csv."
)
@click.option("--patients", type=click.IntRange(1), default=20, show_default=True, help="Four images each.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Draws other patients.")
@click.option("--rows", default=3062, show_default=True, help="Rows of an image; fewer are quicker.")
@click.option("--columns", default=2394, show_default=True, help="Columns of an image.")
@click.option(
    "--cancer-share",
    type=Finite(0, 1),
    default=0.15,
    show_default=True,
    help="Of the patients, in one breast each.",
)
@click.option(
    "--false-positive-share",
    type=Finite(0, 1),
    default=0.15,
    show_default=True,
    help="Of the patients, never the same ones.",
)
@click.option("--transfer-syntax", help="One for all: jpeg-lossless, jpeg2000, jpeg-ls, rle or explicit.")
@click.option("--jobs", default=-1, help="Worker processes.  [default: one per core]")
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
