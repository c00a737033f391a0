"""What a dataset root holds already and a build must not change: refused before anything is decoded or written."""

from collections.abc import Sequence

from nlbs.errors import DatasetError
from nlbs.paths import AnyPath
from nlbs.preprocess.sources import Source
from nlbs.preprocess.tables import generation_of, read_image_rows
from nlbs.shards.layout import IMAGES_CSV, SHARD_SET_JSON, shard_sets_in


def refuse_changes(csv: object, out: AnyPath, cut_name: str, sources: Sequence[Source]) -> None:
    """Raises DatasetError where a build without --overwrite would change what stands in the root."""
    refuse_what_append_does(csv, out, cut_name, sources)
    refuse_moved_patients(out, sources)


def refuse_what_append_does(csv: object, out: AnyPath, cut_name: str, sources: Sequence[Source]) -> None:
    """Raises DatasetError where a complete set would be lost to a table that grew."""
    if not (out / IMAGES_CSV).is_file() or not (out / cut_name / SHARD_SET_JSON).is_file():
        return
    add = f"nlbs-preprocess append --csv {csv} --out {out}"
    known = {row["image"]: generation_of(row) for row in read_image_rows(out)}
    if max(known.values(), default=1) > 1:
        raise DatasetError(
            f"{out} has grown by append, and would lose what {csv} does not name: {add} adds what is new, "
            "reshard cuts all images anew, --overwrite starts again from this table alone"
        )
    new = sum(source.path is not None and source.image not in known for source in sources)
    if new:
        raise DatasetError(
            f"{csv} has {new} images that {out / cut_name} was not cut from: {add} cuts them into "
            "new shards and leaves the old ones as they are, --overwrite cuts everything anew"
        )


def refuse_moved_patients(out: AnyPath, sources: Sequence[Source]) -> None:
    """Raises DatasetError where a patient would stand in another split than in the shard sets of the root.

    All sets of a root divide patients alike: who is held out from a model that was trained on one is from all.
    """
    if not (out / IMAGES_CSV).is_file() or not shard_sets_in(out):
        return
    before = {row["patient"]: row["split"] for row in read_image_rows(out) if row["split"]}
    now = {source.patient: source.split for source in sources if source.split}
    moved = sorted(patient for patient in before.keys() & now if before[patient] != now[patient])
    if moved:
        first = moved[0]
        raise DatasetError(
            f"{len(moved)} patients of {out} would move to another split (patient {first} from {before[first]} to "
            f"{now[first]}), and the shard sets there hold them as they are: give the --split and --split-seed that "
            "they were built with, build into another --out, or pass --overwrite and reshard the other sets too"
        )
