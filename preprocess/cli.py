"""The command ``nlbs-preprocess``: options in, one function call, a summary out."""

from pathlib import Path

import click

from nlbs import __version__
from nlbs.command import entry_point
from nlbs.paths import LOCAL_PATH, PATH, AnyPath


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """Decodes mammograms once and cuts them into shards for nlbs-train."""


@cli.command("build-shards")
@click.option("--csv", "csv_path", type=PATH, required=True, help="The dataset's table: one row per image.")
@click.option("--out", type=PATH, required=True, help="The dataset root to make or to continue.")
@click.option(
    "--images", type=PATH, help="What paths in the CSV are relative to.  [default: the CSV's folder]"
)
@click.option("--resolution", default=256, show_default=True, help="Edge of a patch in pixels.")
@click.option("--stride", default=512, show_default=True, help="Distance between patches in pixels.")
@click.option(
    "--min-foreground", default=0.1, show_default=True, help="Least share of a patch that is breast, 0 to 1."
)
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
    "--keep-background", is_flag=True, help="Leave labels and noise outside the breast; default is air."
)
@click.option("--split", default="80/10/10", show_default=True, help="Shares of train/val/test, by patient.")
@click.option("--split-seed", default=0, show_default=True, help="Chooses another division of the patients.")
@click.option("--patient-column", help="Column of the CSV that names the patient.")
@click.option(
    "--patient-part", type=click.IntRange(1), help="Folder of the path that names the patient, from 1."
)
@click.option(
    "--patient-per-image", is_flag=True, help="Where the patient is unknown: each image is its own."
)
@click.option("--jobs", default=-1, help="Worker processes.  [default: one per core]")
@click.option(
    "--key-file",
    type=LOCAL_PATH,
    help="The secret that ids are made with.  [default: ~/.config/nlbs-cvae/key]",
)
@click.option(
    "--overwrite", is_flag=True, help="Cut anew where a shard set of other images or options stands."
)
@click.option(
    "--file-timeout",
    default=60.0,
    show_default=True,
    help="Seconds that reading and decoding one file may take.",
)
@click.option(
    "--max-failures",
    default="auto",
    show_default=True,
    help="Stop when more images fail: a count, a share such as 5%, or auto: 10 images or 5 %, whichever is more.",
)
def build_shards_command(
    csv_path: AnyPath,
    out: AnyPath,
    images: AnyPath | None,
    resolution: int,
    stride: int,
    min_foreground: float,
    dtype: str,
    voi: str,
    decoder: str,
    keep_background: bool,
    split: str,
    split_seed: int,
    patient_column: str | None,
    patient_part: int | None,
    patient_per_image: bool,
    jobs: int,
    key_file: Path | None,
    overwrite: bool,
    file_timeout: float,
    max_failures: str,
) -> None:
    """Decode every DICOM of a CSV once and cut patches into shards.

    The CSV has a header such as

    \b
      File Path,Image Laterality,View Position,Age,Cancer,False Positive
      abnormal\\109430185503\\left\\CC\\IM-0019-0002-0001.dcm,L,CC,66,0,0

    Empty cells are unknown, and stay unknown. Files that cannot be used are named in images.csv
    with the reason. Run the same command again to continue a build that was stopped.
    """
    from nlbs.manifests.splits import parse_shares
    from nlbs.preprocess.build import BuildOptions, build_shards
    from nlbs.preprocess.decode import DecodeOptions
    from nlbs.preprocess.grid import CutOptions
    from nlbs.preprocess.report import build_report

    options = BuildOptions(
        csv=csv_path,
        out=out,
        images=images,
        patient_column=patient_column,
        patient_part=patient_part,
        patient_per_image=patient_per_image,
        shares=parse_shares(split),
        split_seed=split_seed,
        decode=DecodeOptions(dtype=dtype, voi=voi, decoder=decoder, keep_background=keep_background),
        cut=CutOptions(resolution=resolution, stride=stride, min_foreground=min_foreground),
        jobs=jobs,
        key_file=key_file,
        overwrite=overwrite,
        file_timeout_s=file_timeout,
        most_failures=max_failures,
    )
    for line in build_report(build_shards(options)):
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
@click.option(
    "--min-foreground", default=0.1, show_default=True, help="Least share of a patch that is breast, 0 to 1."
)
@click.option("--jobs", default=-1, help="Worker processes.  [default: one per core]")
@click.option(
    "--overwrite", is_flag=True, help="Cut anew where a shard set of other images or options stands."
)
def reshard_command(
    shards: AnyPath,
    preset: str | None,
    resolution: int | None,
    stride: int | None,
    min_foreground: float,
    jobs: int,
    overwrite: bool,
) -> None:
    """Cut another shard set from the decoded images; no DICOM is opened."""
    from nlbs.preprocess.build import reshard
    from nlbs.preprocess.grid import CUT_PRESETS, CutOptions
    from nlbs.preprocess.report import cut_report

    preset_resolution, preset_stride = CUT_PRESETS[preset or "balanced"]
    options = CutOptions(
        resolution=preset_resolution if resolution is None else resolution,
        stride=preset_stride if stride is None else stride,
        min_foreground=min_foreground,
    )
    for line in cut_report(reshard(shards, options, jobs, overwrite)):
        click.echo(line)


@cli.command("info")
@click.option("--shards", type=PATH, required=True, help="A shard set, or a dataset root with one.")
@click.option(
    "--batch-size", type=click.IntRange(1), default=64, show_default=True, help="For the mix of a batch."
)
def info_command(shards: AnyPath, batch_size: int) -> None:
    """Say what a shard set holds: sizes, counts per condition and split, how well a batch mixes."""
    from nlbs.preprocess.info import shard_set_info
    from nlbs.shards import open_shards

    with open_shards(shards) as shard_set:
        for line in shard_set_info(shard_set, batch_size):
            click.echo(line)


@cli.command("verify")
@click.option("--shards", type=PATH, required=True, help="A shard set, or a dataset root with one.")
@click.option(
    "--repair", is_flag=True, help="Restore what is damaged from the decoded images: the same bytes."
)
@click.option("--jobs", default=-1, help="Worker processes of the repair.  [default: one per core]")
def verify_command(shards: AnyPath, repair: bool, jobs: int) -> None:
    """Read every byte of a shard set and name what is not as it was written."""
    from nlbs.errors import ShardError
    from nlbs.shards.layout import find_shard_set
    from nlbs.shards.verify import damages

    folder = find_shard_set(shards)
    found = list(damages(folder))
    for damage in found:
        click.echo(f"{folder / damage.name} {damage.what}")
    if found and repair:
        from nlbs.preprocess.build import repair as restore

        restore(folder, jobs)
        found = list(damages(folder))
        click.echo(f"{folder} is restored" if not found else f"{folder} could not be restored")
    if found:
        raise ShardError(f"{len(found)} files of {folder} are damaged: --repair restores them")
    click.echo(f"{folder}: every byte is as it was written")


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
    from nlbs.preprocess.preview import write_preview

    patch_page, image_page = write_preview(shards, out, images, patches, seed)
    click.echo(f"Patches   {patch_page}")
    click.echo(f"Images    {image_page}")


@cli.command("phantom")
@click.option(
    "--out", type=LOCAL_PATH, required=True, help="Folder for the DICOM files, meta.csv and truth.csv."
)
@click.option("--patients", type=click.IntRange(1), default=20, show_default=True, help="Four images each.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Draws other patients.")
@click.option("--rows", default=3062, show_default=True, help="Rows of an image; fewer are quicker.")
@click.option("--columns", default=2394, show_default=True, help="Columns of an image.")
@click.option("--transfer-syntax", help="One for all: jpeg-lossless, jpeg2000, jpeg-ls, rle or explicit.")
@click.option("--jobs", default=-1, help="Worker processes.  [default: one per core]")
def phantom_command(
    out: Path, patients: int, seed: int, rows: int, columns: int, transfer_syntax: str | None, jobs: int
) -> None:
    """Draw a synthetic screening set in the NLBS layout, for tests and for people without data."""
    from nlbs.preprocess.phantom.screening_set import write_phantom

    made = write_phantom(out, patients, seed, rows, columns, jobs, transfer_syntax)
    click.echo(
        f"{made.images} images of {made.patients} patients: {made.cancer_patients} with cancer, "
        f"{made.false_positive_patients} false positive, {made.unknown_age_patients} of unknown age"
    )
    click.echo(f"Table   {made.meta}")
    click.echo(f"Truth   {made.meta.with_name('truth.csv')}")


main = entry_point(cli)
