"""Every source file is decoded once into the store, in parallel; one bad file costs that file only."""

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib

from nlbs.errors import ImageError
from nlbs.preprocess.decode import DecodeOptions, decode_image
from nlbs.preprocess.grid import CutOptions, patches_of
from nlbs.preprocess.progress import Progress
from nlbs.preprocess.sources import Source
from nlbs.preprocess.store import ImageStore


@dataclass(frozen=True)
class Outcome:
    """What came of one source."""

    source: Source
    status: str = "ok"
    reason: str = ""  #: a sentence that names no patient
    detail: str = ""  #: what else is known, perhaps with text from the file
    record: dict[str, Any] | None = None  #: of the stored image
    stamp: str = ""  #: size and time of the file that was decoded
    decoded: bool = False  #: in this run, and not an earlier one


def ingest(
    sources: Sequence[Source],
    store: ImageStore,
    options: DecodeOptions,
    cut: CutOptions,
    stamps: dict[str, str],
    jobs: int,
    most_failures: float = math.inf,
) -> list[Outcome]:
    """Decodes what the store does not hold yet; gives one outcome per source, in their order.

    Where more than ``most_failures`` sources fail, the rest is left with the status "not_reached".

    Args:
        sources: one per row of the CSV.
        store: takes the images.
        options: how to decode.
        cut: only to tell the number of patches while the work goes on.
        stamps: image id -> stamp of the file that the store's image was decoded from.
        jobs: worker processes; -1 is one per core.
        most_failures: how many sources may fail before the work stops.
    """
    outcomes: dict[int, Outcome] = {}
    waiting = []
    for source in sources:
        known = _known_outcome(source, store, stamps)
        if known is None:
            waiting.append(source)
        else:
            outcomes[source.row.row] = known
    failed = sum(_has_failed(outcome) for outcome in outcomes.values())
    run = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
    results = run(joblib.delayed(_ingest_one)(source, store, options) for source in waiting)
    with Progress("Decoding", len(waiting)) as progress, closing(results):
        while len(outcomes) < len(sources) and failed <= most_failures:
            outcome = next(results)
            outcomes[outcome.source.row.row] = outcome
            failed += _has_failed(outcome)
            progress.advance(1, len(patches_of(outcome.record, cut)) if outcome.record else 0)
    not_reached = "the work was stopped before, because too many images failed"
    return [outcomes.get(source.row.row, Outcome(source, "not_reached", not_reached)) for source in sources]


def _has_failed(outcome: Outcome) -> bool:
    """Says whether an image was lost; a second row of the same image is no loss."""
    return outcome.status not in ("ok", "duplicate")


def _known_outcome(source: Source, store: ImageStore, stamps: dict[str, str]) -> Outcome | None:
    """Gives what is known of a source without opening its file; None where it has to be decoded."""
    if source.path is None:
        return Outcome(source, source.status, source.problem or "")
    record, stamp = store.record(source.image), _stamp(source.path)
    noted = stamps.get(source.image, stamp)
    # Another stamp is another file. A file that is gone since has been decoded all the same.
    if record is not None and stamp in (noted, ""):
        return _succeeded(source, record, noted, False)
    return None


def _ingest_one(source: Source, store: ImageStore, options: DecodeOptions) -> Outcome:
    if source.path is None:
        raise AssertionError("a source without a path has nothing to decode")
    stamp = _stamp(source.path)
    try:
        image = decode_image(source.path, options)
    except ImageError as error:
        cause = error.__cause__
        detail = f"{type(cause).__name__}: {cause}" if cause is not None else ""
        return Outcome(source, error.status, str(error), detail, decoded=True)
    except MemoryError:
        return Outcome(source, "out_of_memory", "decoding needs more memory than there is", decoded=True)
    record = {**image.record, "notes": list(image.notes)}
    store.put(source.image, image.pixels, record)
    return _succeeded(source, record, stamp, True)


def _succeeded(source: Source, record: dict[str, Any], stamp: str, decoded: bool) -> Outcome:
    return Outcome(
        source,
        reason="; ".join((*source.row.notes, *record.get("notes", ()))),
        detail="; ".join(source.row.details),
        record=record,
        stamp=stamp,
        decoded=decoded,
    )


def _stamp(path: Path) -> str:
    """Gives size and modification time of a file, empty where there is none: another stamp, another file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}"
