"""build-shards: a dataset's CSV in, a dataset root out."""

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from nlbs.errors import ConfigError, DatasetError
from nlbs.files import only_one, remove_partials
from nlbs.manifests.pseudonyms import default_key_file, load_pseudonyms
from nlbs.manifests.table import read_table
from nlbs.paths import AnyPath
from nlbs.preprocess.decode import DecodeOptions
from nlbs.preprocess.grid import CutOptions
from nlbs.preprocess.guard import FILE_TIMEOUT_S
from nlbs.preprocess.ingest import ingest
from nlbs.preprocess.outcome import Outcome
from nlbs.preprocess.shard_plan import plan_shards
from nlbs.preprocess.shard_set import CutSummary, cut_shard_set
from nlbs.preprocess.sources import locate_sources
from nlbs.preprocess.store import ImageStore
from nlbs.preprocess.tables import read_labelled_images, read_stamps, write_images_csv, write_sources_csv
from nlbs.shards.layout import IMAGES_CSV, SHARD_SET_JSON, STORE, read_shard_set_json


@dataclass(frozen=True)
class BuildOptions:
    """What build-shards is asked to do."""

    csv: AnyPath
    out: AnyPath  #: the dataset root; only names of ours are written there
    images: AnyPath | None = None  #: what the paths are relative to; None is the CSV's folder
    patient_column: str | None = None
    patient_part: int | None = None  #: folder of the path, from 1; None is the dialect's rule
    patient_per_image: bool = False
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)  #: of train, val, test
    split_seed: int = 0
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    cut: CutOptions = field(default_factory=CutOptions)
    jobs: int = -1  #: worker processes; -1 is one per core
    key_file: Path | None = None  #: None is the user's own
    overwrite: bool = False
    file_timeout_s: float = FILE_TIMEOUT_S  #: seconds that decoding one file may take
    most_failures: str = "auto"  #: images that may fail: a count, a share such as "5%", or auto


@dataclass(frozen=True)
class BuildSummary:
    """What build-shards did."""

    dialect: str
    rows: int
    decoded: int  #: in this run
    skipped: dict[str, int]  #: status -> rows
    remarks: int  #: usable images with a remark in images.csv
    unknown: dict[str, int]  #: condition -> usable images that lack it
    examples: list[str]  #: a few skipped rows in words, for the console
    shard_set: CutSummary
    seconds: float


def build_shards(options: BuildOptions) -> BuildSummary:
    """Decodes the images of a CSV into a dataset root and cuts a shard set from them.

    What an earlier run has done is not done again.

    Raises:
        NlbsError: the CSV, the options or the folder cannot be used, or no image is left.
    """
    with only_one(options.out, "nlbs-preprocess"):
        remove_partials(options.out / STORE)
        remove_partials(options.out)
        return _build(options, time.monotonic())


def _build(options: BuildOptions, begun: float) -> BuildSummary:
    table = read_table(options.csv, options.patient_column, options.patient_part)
    pseudonyms = load_pseudonyms(options.key_file or default_key_file())
    root = options.images or options.csv.parent
    if not root.is_dir():
        raise DatasetError(f"there is no folder {root}: check --images")
    sources = locate_sources(
        table.rows, root, pseudonyms, options.shares, options.split_seed, options.patient_per_image
    )
    store = ImageStore.open(
        options.out / STORE, {**options.decode.recipe(), "key_fingerprint": pseudonyms.fingerprint}
    )
    stamps, limit = read_stamps(options.out), failure_limit(options.most_failures, len(sources))
    outcomes = ingest(
        sources, store, options.decode, options.cut, stamps, options.jobs, limit, options.file_timeout_s
    )
    write_images_csv(options.out, outcomes)
    write_sources_csv(options.out, outcomes)
    usable = [outcome for outcome in outcomes if outcome.status == "ok"]
    if not usable:
        raise DatasetError(_nothing_usable(outcomes, root, options.out))
    if any(outcome.status == "not_reached" for outcome in outcomes):
        raise DatasetError(_too_many_failures(outcomes, limit, options.out))
    images = read_labelled_images(options.out)
    shard_set = cut_shard_set(options.out, store, images, options.cut, options.jobs, options.overwrite)
    return BuildSummary(
        dialect=table.dialect.name,
        rows=len(table.rows),
        decoded=sum(outcome.decoded and outcome.status == "ok" for outcome in outcomes),
        skipped=dict(Counter(outcome.status for outcome in outcomes if outcome.status != "ok")),
        remarks=sum(bool(outcome.reason) for outcome in usable),
        unknown=_unknown_conditions(usable),
        examples=[_in_words(outcome) for outcome in outcomes if outcome.status != "ok"][:5],
        shard_set=shard_set,
        seconds=time.monotonic() - begun,
    )


def reshard(root: AnyPath, cut: CutOptions, jobs: int, overwrite: bool) -> CutSummary:
    """Cuts another shard set from the decoded images of a dataset root; no DICOM is opened.

    Raises:
        NlbsError: the folder is no dataset root, or such a set of other images stands there.
    """
    images, store = read_labelled_images(root), ImageStore.existing(root / STORE)
    with only_one(root, "nlbs-preprocess"):
        return cut_shard_set(root, store, images, cut, jobs, overwrite)


def repair(folder: AnyPath, jobs: int) -> CutSummary:
    """Cuts a damaged shard set anew from the decoded images beside it: the same bytes as before.

    Raises:
        DatasetError: the images, conditions or splits are no longer those that the set was cut from.
    """
    root, info = folder.parent, read_shard_set_json(folder)
    if not (root / IMAGES_CSV).is_file() or not (root / STORE).is_dir():
        raise DatasetError(
            f"{folder} stands alone, without the decoded images it was cut from, so it cannot be restored: copy it "
            f"again from where it came, or put it back beside its {STORE} and {IMAGES_CSV}"
        )
    parameters = info["parameters"]
    cut = CutOptions(**{field.name: parameters[field.name] for field in fields(CutOptions)})
    images, store = read_labelled_images(root), ImageStore.existing(root / STORE)
    with only_one(root, "nlbs-preprocess"):
        if plan_shards(images, store, cut).dataset_id != info["dataset_id"]:
            raise DatasetError(
                f"{folder} was cut from other images or conditions than {root} holds now, so its bytes cannot be "
                "restored: cut it anew with reshard --overwrite"
            )
        (folder / SHARD_SET_JSON).unlink()
        return cut_shard_set(root, store, images, cut, jobs, overwrite=False)


def failure_limit(text: str, images: int) -> float:
    """Gives how many of some images may fail before a build stops.

    Args:
        text: a count ("20"), a share ("5%"), or "auto": 10 images or 5 %, whichever is more.
        images: of the table.

    Raises:
        ConfigError: none of these.
    """
    match = re.fullmatch(r"auto|(\d+(?:\.\d+)?)\s*(%?)", text.strip())
    if match is None:
        raise ConfigError(
            f"--max-failures {text!r}: expected a count such as 20, a share such as 5%, or auto"
        )
    if match[1] is None:
        return max(10.0, 0.05 * images)
    return float(match[1]) / 100 * images if match[2] else float(match[1])


def _unknown_conditions(usable: Sequence[Outcome]) -> dict[str, int]:
    names = ("view", "laterality", "age_bin", "cancer", "false_positive")
    counts = {
        name: sum(getattr(outcome.source.row.conditions, name) is None for outcome in usable)
        for name in names
    }
    return {name: count for name, count in counts.items() if count}


def _in_words(outcome: Outcome) -> str:
    row = outcome.source.row
    return f"row {row.row} ({row.path or 'no path'}): {outcome.reason}"


def _too_many_failures(outcomes: Sequence[Outcome], limit: float, out: AnyPath) -> str:
    failed = [outcome for outcome in outcomes if outcome.is_failure]
    kinds = ", ".join(
        f"{count} {status}" for status, count in Counter(o.status for o in failed).most_common()
    )
    return (
        f"stopped after {len(failed)} of {len(outcomes)} images failed ({kinds}), more than {limit:.0f}; for example "
        f"{_in_words(failed[0])}. {out / 'images.csv'} says more. What was decoded is kept; --max-failures allows more"
    )


def _nothing_usable(outcomes: Sequence[Outcome], root: AnyPath, out: AnyPath) -> str:
    counts = Counter(outcome.status for outcome in outcomes)
    kinds = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    return (
        f"none of the {len(outcomes)} images can be used ({kinds}), for example {_in_words(outcomes[0])}. "
        f"Paths are taken relative to {root}; name another folder with --images. {out / 'images.csv'} says more"
    )
