"""Options of ``nlbs-preprocess`` that several commands take, and what becomes of them."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from nlbs import options
from nlbs.command import POSITIVE, Finite
from nlbs.manifests.datasets import DIALECTS
from nlbs.options import all_of
from nlbs.paths import LOCAL_PATH, PATH

if TYPE_CHECKING:
    from nlbs.manifests.tables.table import TableOptions
    from nlbs.preprocess.images.grid import CutOptions
    from nlbs.preprocess.root.intake import BuildOptions

#: Sections of the help pages, in the order in which a person thinks about them.
SECTIONS = {
    "Files and folders": ("--csv", "--images", "--shards", "--to", "--out", "--shard-set", "--overwrite"),
    "How the table is read": ("--dataset", "--map", "--keep"),
    "Who is the same patient": (
        "--patient-column", "--patient-part", "--patient-per-image", "--trust-patients", "--similar-ids", "--key-file",
    ),
    "How patients are divided": ("--split", "--split-seed", "--allow-duplicates"),
    "Which images": ("--kinds", "--disagree", "--changed", "--frame", "--max-failures", "--all"),
    "How files become grey values": (
        "--foreground", "--channels", "--decoder", "--voi", "--keep-background", "--dtype",
    ),
    "How patches are cut": (
        "--preset", "--resolution", "--stride", "--min-foreground", "--mode", "--spacing-mm", "--unknown-spacing",
    ),
    "How they are stored": ("--container", "--compression"),
    "What is drawn": (
        "--patients", "--rows", "--columns", "--cancer-share", "--false-positive-share", "--seed", "--transfer-syntax",
    ),
    "What its card says": ("--license", "--name"),
    "Where it runs": ("--jobs", "--backend", "--scheduler", "--part", "--dry-run", "--file-timeout"),
}  # fmt: skip


overwrite_option = options.overwrite_option("Cut anew where a shard set of other images or options stands.")
decoder_option = click.option(
    "--decoder",
    type=click.Choice(["auto", "imagecodecs", "pylibjpeg"]),
    default="auto",
    show_default=True,
    help="pylibjpeg is the reference; imagecodecs is faster; auto takes the faster one wherever both give the same "
    "pixels (of 8-bit lossy JPEG within one grey level).",
)
#: What a file is decoded as, beside its type of grey values.
decode_options = all_of(
    click.option(
        "--channels",
        type=click.Choice(["grey", "rgb"]),
        default="grey",
        show_default=True,
        help="rgb: red, green and blue of images in colour, grey ones in three equal channels. grey refuses colours.",
    ),
    click.option(
        "--voi",
        type=click.Choice(["auto", "lut", "window", "range"]),
        default="auto",
        show_default=True,
        help="What makes pixels visible: the VOI LUT of the header, its window, or the foreground's own range; auto is "
        "the first of these that there is.",
    ),
    decoder_option,
    click.option(
        "--frame",
        metavar="N|middle",
        help="Of a multi-frame file: a number from 1, or middle.  [default: such files are refused]",
    ),
    click.option(
        "--keep-background",
        is_flag=True,
        help="Leave labels and noise outside the foreground as they are, in place of air.",
    ),
)
compression_option = click.option(
    "--compression",
    type=click.Choice(["none", "png", "zstd"]),
    default="none",
    show_default=True,
    help="Lossless compression of each patch: png in tar, zstd in zarr. Smaller files, slower reading.",
)


#: What the card of a shard set says of the data.
about_options = all_of(
    click.option(
        "--license",
        "licence",
        metavar="NAME",
        help="Licence of the data, such as cc-by-4.0.  [default: what the card says, or that of another set of the "
        "root]",
    ),
    click.option(
        "--name",
        metavar="TEXT",
        help="Name of the dataset.  [default: what the card says, or that of another set of the root]",
    ),
)


def workers_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say who does the work; the command gets them as ``workers``."""

    @wraps(command)
    def with_workers(jobs: int, backend: str, scheduler: str | None, **asked: Any) -> None:
        from nlbs.preprocess.workers import Workers

        command(workers=Workers(jobs, backend, scheduler), **asked)

    return all_of(
        click.option("--jobs", default=-1, help="Workers on this machine.  [default: one per core]"),
        click.option(
            "--backend",
            type=click.Choice(["loky", "threading", "dask"]),
            default="loky",
            show_default=True,
            help="Processes (loky) or threads of this machine, or a cluster on the same file system.",
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="Scheduler of the cluster, such as tcp://host:8786; --backend dask needs it.  [default: none]",
        ),
    )(with_workers)


#: What a patch is and what it is stored as: the same for every command that cuts.
patch_options = all_of(
    click.option(
        "--min-foreground",
        type=Finite(),
        help="Least share of a patch that is foreground, 0 to 1.  [default: 0.1; with --mode whole 0]",
    ),
    click.option(
        "--mode",
        type=click.Choice(["patches", "whole"]),
        default="patches",
        show_default=True,
        help="whole: one patch per image, the foreground made to fit, at its own aspect.",
    ),
    click.option(
        "--spacing-mm",
        type=Finite(),
        help="Bring all images to this many mm per pixel first.  [default: as they are]",
    ),
    click.option(
        "--unknown-spacing",
        type=click.Choice(["refuse", "skip"]),
        help="With --spacing-mm: images whose spacing is unknown stop the cut, or are left out.  [default: refuse]",
    ),
    click.option(
        "--container",
        type=click.Choice(["tar", "zarr"]),
        default="tar",
        show_default=True,
        help="tar: files for WebDataset readers. zarr: a zarr version 3 array per shard.",
    ),
    compression_option,
)


def check_container(container: str, compression: str) -> None:
    """Raise UsageError where a container does not hold what is so compressed."""
    from nlbs.shards.format.container import misfit

    problem = misfit(container, compression)
    if problem is not None:
        raise click.UsageError(problem)


def cut_options(asked: dict[str, Any], dtype: str | None = None) -> "CutOptions":
    """Return the options of a cut, taken out of what a command was asked.

    Args:
        asked: the options of :data:`patch_options`, ``resolution``, ``stride`` and perhaps ``preset``.
        dtype: of the patches; None is that of the store.

    Raises:
        UsageError: two of them exclude each other.
    """
    from nlbs.preprocess.images.grid import CUT_PRESETS, CutOptions

    names = ("mode", "spacing_mm", "unknown_spacing", "container", "compression")
    chosen = {name: asked.pop(name) for name in names}
    resolution, stride, least = (asked.pop(name) for name in ("resolution", "stride", "min_foreground"))
    preset_resolution, preset_stride = CUT_PRESETS[asked.pop("preset", None) or "balanced"]
    check_container(chosen["container"], chosen["compression"])
    whole = chosen["mode"] == "whole"
    if whole and stride is not None:
        raise click.UsageError("--stride means nothing with --mode whole, which gives one patch per image.")
    if whole and chosen["spacing_mm"] is not None:
        raise click.UsageError(
            "--spacing-mm means nothing with --mode whole, which fits each image to a patch."
        )
    if chosen["unknown_spacing"] is not None and chosen["spacing_mm"] is None:
        raise click.UsageError("--unknown-spacing means nothing without --spacing-mm.")
    return CutOptions(
        preset_resolution if resolution is None else resolution,
        preset_stride if stride is None else stride,
        (0.0 if whole else 0.1) if least is None else least,
        dtype=dtype,
        **{**chosen, "unknown_spacing": chosen["unknown_spacing"] or "refuse"},
    )


#: Which table, and how it is read.
table_options = all_of(
    click.option(
        "--csv",
        "csv_paths",
        type=PATH,
        required=True,
        multiple=True,
        help="The dataset's table. Again for each that it has, such as the four of CBIS-DDSM.",
    ),
    click.option(
        "--dataset",
        type=click.Choice([dialect.key for dialect in DIALECTS]),
        metavar="NAME",
        help=f"What the table is of: {', '.join(dialect.key for dialect in DIALECTS)}.  "
        "[default: recognised from its header]",
    ),
    click.option(
        "--map",
        "columns",
        multiple=True,
        metavar="NAMES",
        help="Which columns of a table of your own say what, such as path=file,patient=pid,view=Projection. "
        "Names before =: path, frame (of a file with several), patient, view, laterality, age, cancer and "
        "false_positive.  "
        "[default: those of the dataset]",
    ),
    click.option(
        "--images", type=PATH, help="What paths in the CSV are relative to.  [default: the CSV's folder]"
    ),
    click.option(
        "--patient-column",
        metavar="NAME",
        help="Column of the CSV that names the patient.  [default: the dataset's rule]",
    ),
    click.option(
        "--patient-part",
        type=click.IntRange(1),
        help="Folder of the path that names the patient, counted from 1.  [default: the dataset's rule]",
    ),
)

#: What else a command that decodes the images of a table asks.
source_options = all_of(
    click.option(
        "--foreground",
        type=click.Choice(["breast", "body", "tissue", "none"]),
        help="What of an image is cut into patches: the breast; the body of a chest X-ray or an MR slice, with its "
        "lungs; stained tissue; or, with none, all of it.  [default: what dataset or DICOM headers say, else "
        "breast, with --channels rgb tissue]",
    ),
    click.option(
        "--keep",
        metavar="NAMES",
        help="Further columns to take along, with commas: density,birads,findings, or by their names in the "
        "table.  [default: none]",
    ),
    click.option(
        "--disagree",
        type=click.Choice(["csv", "tag", "drop", "error"]),
        default="csv",
        show_default=True,
        help="Where the DICOM header states another view, side or age than the table: csv, the table counts; tag, "
        "the header counts; drop, the image is left out; error, the build ends.",
    ),
    click.option(
        "--kinds",
        metavar="NAMES",
        default="standard",
        show_default=True,
        help="Kinds of image to take, by table and header: standard views (and what says no kind), all, or names "
        "with commas such as standard,implant_displaced. Others are named in images.csv.",
    ),
    click.option(
        "--split",
        metavar="SHARES",
        default="80/10/10",
        show_default=True,
        help="Shares of patients in train, val and test; or dataset: its own division.",
    ),
    click.option(
        "--split-seed",
        default=0,
        show_default=True,
        help="Another number divides the patients otherwise.",
    ),
    click.option(
        "--patient-per-image",
        is_flag=True,
        help="Where no patient is known, take each image as a patient of its own.",
    ),
    click.option(
        "--trust-patients",
        is_flag=True,
        help="Go on although what names the patients looks wrong, such as a folder called like a class.",
    ),
    click.option(
        "--similar-ids",
        type=click.Choice(["stop", "same", "different"]),
        default="stop",
        show_default=True,
        help="Ids of patients that may be one person's, such as 7 and 007 or p1 and P1: stop and list them, take "
        "them as the same person, or as different ones.",
    ),
    workers_options,
    click.option(
        "--key-file",
        type=LOCAL_PATH,
        help="The secret that ids are made with.  [default: that of NLBS_KEY_FILE, else ~/.config/nlbs-cvae/key]",
    ),
    click.option(
        "--file-timeout",
        type=POSITIVE,
        default=60.0,
        show_default=True,
        help="Seconds that reading and decoding one file may take.",
    ),
    click.option(
        "--max-failures",
        metavar="NUMBER",
        default="auto",
        show_default=True,
        help="Stop when more images fail: a count, a share such as 5%, or auto, which is 10 images or 5%, "
        "whichever is more, and of a small table at most half.",
    ),
    click.option(
        "--allow-duplicates",
        is_flag=True,
        help="Go on although images of equal pixels stand in two splits.",
    ),
)


def asked_table(asked: dict[str, Any]) -> "TableOptions":
    """Return how a table is to be read, of what a command was asked."""
    from nlbs.manifests.tables.dialects import parse_columns
    from nlbs.manifests.tables.table import TableOptions

    return TableOptions(
        dataset=asked["dataset"],
        columns=parse_columns(asked["columns"]),
        keep=tuple(name.strip() for name in (asked.get("keep") or "").split(",") if name.strip()),
        patient_column=asked["patient_column"],
        patient_part=asked["patient_part"],
    )


def build_options(asked: dict[str, Any], cut: "CutOptions | None" = None) -> "BuildOptions":
    """Return the options of a build or an append, of what its command was asked.

    Args:
        asked: the options of :data:`table_options` and :data:`source_options`, and those by which files are decoded.
        cut: how to cut; None where that is known from what stands there.
    """
    from nlbs.card import About
    from nlbs.manifests.kinds import parse_kinds
    from nlbs.manifests.people.splits import parse_shares
    from nlbs.preprocess.formats.frames import parse_frame
    from nlbs.preprocess.images.decode import DecodeOptions
    from nlbs.preprocess.images.grid import CutOptions
    from nlbs.preprocess.root.intake import BuildOptions

    def given(*names: str) -> dict[str, Any]:
        return {name: asked[name] for name in names if name in asked}

    frame, channels = parse_frame(asked.get("frame")), 3 if asked.get("channels") == "rgb" else 1
    kinds = parse_kinds(asked["kinds"], frame is not None)
    return BuildOptions(
        csv=asked["csv_paths"],
        table=asked_table(asked),
        shares=None if asked["split"] == "dataset" else parse_shares(asked["split"]),
        decode=DecodeOptions(
            **given("dtype", "voi", "decoder", "keep_background"), channels=channels, frame=frame, kinds=kinds
        ),
        cut=cut or CutOptions(),
        file_timeout_s=asked["file_timeout"],
        most_failures=asked["max_failures"],
        **given(
            *("out", "images", "foreground", "disagree"),
            *("patient_per_image", "trust_patients", "similar_ids", "split_seed"),
        ),
        **given("workers", "key_file", "allow_duplicates", "overwrite"),
        about=About(asked.get("licence"), asked.get("name")),
    )
