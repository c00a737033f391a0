"""Every source file is decoded once into the store, in parallel; one bad file costs that file only."""

import math
import shutil
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from nlbs.errors import DatasetError
from nlbs.files import refuse_link
from nlbs.manifests.kinds import KINDS
from nlbs.preprocess.images.decode import DecodeOptions, decode_image
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.images.store import ImageStore
from nlbs.preprocess.root.fence import FILE_TIMEOUT_S, Decoding, decode_alone, decode_guarded, kept
from nlbs.preprocess.root.outcome import Decoder, Outcome, known_outcome
from nlbs.preprocess.root.preflight import require_decoders
from nlbs.preprocess.root.sources import Source
from nlbs.preprocess.workers import WORKER_DIED, Workers, WorkersDied
from nlbs.progress import Progress
from nlbs.stores import store_of

_IN_HAND = ".in-hand"
#: How often workers may die with no file in their hands before the work stops.
_MOST_BROKEN_POOLS = 2


def ingest(
    sources: Sequence[Source],
    store: ImageStore,
    options: DecodeOptions,
    cut: CutOptions,
    stamps: dict[str, str],
    workers: Workers,
    most_failures: float = math.inf,
    timeout_s: float = FILE_TIMEOUT_S,
    decode: Decoder = decode_image,
    notes: Path | None = None,
) -> list[Outcome]:
    """Decode what the store does not hold yet; return one outcome per source, in their order.

    Where more than ``most_failures`` sources fail, the rest is left with the status "not_reached".

    Args:
        sources: one per row of the CSV.
        store: takes the images.
        options: how to decode.
        cut: only to tell the number of patches while the work goes on.
        stamps: image id -> stamp of the file that the store's image was decoded from.
        workers: who decodes.
        most_failures: how many sources may fail before the work stops.
        timeout_s: seconds that one file may take in a worker process.
        decode: turns a file into an image.
        notes: folder, made here, for the names of files in the hands of workers; None is one in the store, or
            a temporary one where the store is remote.

    Raises:
        DatasetError: no file that is still to be decoded has a decoder here.
    """
    notes = (
        notes or store_of(store.path).scratch_folder(store.path, _IN_HAND)
    ).absolute()  # for workers that stand in another folder
    refuse_link(notes)
    shutil.rmtree(notes, ignore_errors=True)  # of a run that was killed
    outcomes = known_outcomes(sources, store, cut, stamps, options.kinds)
    waiting = {source.image: at for at, source in enumerate(sources) if outcomes[at] is None}
    failed = sum(outcome.is_failure for outcome in outcomes if outcome is not None)
    how = Decoding(type(store)(store.path.absolute()), options, cut, decode, timeout_s)
    left = {image: sources[at] for image, at in waiting.items()}
    warning = require_decoders([source.path for source in left.values() if source.path], options.decoder)
    if warning:
        print(warning, file=sys.stderr)
    decoded = _decoded(left, how, workers, notes)
    with Progress("Decoding", len(waiting)) as progress, closing(decoded):
        while left and failed <= most_failures:
            outcome = next(decoded)
            at = waiting[outcome.source.image]
            # What comes back has a source and texts of its own.
            outcomes[at] = replace(
                outcome, source=sources[at], status=sys.intern(outcome.status), kind=sys.intern(outcome.kind)
            )
            failed += outcome.is_failure
            progress.advance(1, outcome.patches)
    not_reached = "the work was stopped before, because too many images failed"
    return [
        outcome or Outcome(source, "not_reached", not_reached)
        for outcome, source in zip(outcomes, sources, strict=True)
    ]


def _decoded(
    left: dict[str, Source], how: Decoding, workers: Workers, notes: Path
) -> Generator[Outcome, None, None]:
    """Take each source out of ``left`` and return its outcome, as it comes, whatever dies on the way."""
    broken = 0
    try:
        while left:
            shutil.rmtree(notes, ignore_errors=True)
            notes.mkdir(parents=True)
            try:
                with closing(_run(list(left.values()), how, workers, notes)) as results:
                    for outcome in results:
                        del left[outcome.source.image]
                        yield outcome
            except WorkersDied:
                suspects = _suspects(notes, left, workers)
                broken += not suspects
                if broken > _MOST_BROKEN_POOLS:  # workers die between two files: nothing of ours to blame
                    raise DatasetError(WORKER_DIED) from None
                for source in suspects:
                    del left[source.image]
                    yield decode_alone(source, how)
    finally:
        shutil.rmtree(notes, ignore_errors=True)


def _run(
    sources: Sequence[Source], how: Decoding, workers: Workers, notes: Path
) -> Generator[Outcome, None, None]:
    placed = (replace(source, path=source.path and source.path.absolute()) for source in sources)
    return workers.run_fenced(decode_guarded, ((source, how, notes) for source in placed), how.store.path)


def _suspects(notes: Path, left: dict[str, Source], workers: Workers) -> list[Source]:
    """Return the sources that some worker had in its hands when it died."""
    if workers.backend == "dask":  # which has done everything else
        return list(left.values())
    return [left[note.name] for note in sorted(notes.iterdir()) if note.name in left]


def known_outcomes(
    sources: Sequence[Source],
    store: ImageStore,
    cut: CutOptions,
    stamps: dict[str, str],
    kinds: tuple[str, ...] = tuple(KINDS),
) -> list[Outcome | None]:
    """Return what is known of each source without opening its file, in order; None where it has to be decoded.

    What only the store needs is left out: see :mod:`nlbs.preprocess.root.fence`.

    The store is listed once, so that only images which it holds are asked for.

    Args:
        sources, store, stamps: as for :func:`~nlbs.preprocess.root.outcome.known_outcome`.
        cut: tells the patches.
        kinds: those that are asked for.
    """
    held = {path.name for path in store.path.glob("*")}

    def known(source: Source) -> Outcome | None:
        if source.path is not None and source.image not in held and source.row.kind is None:
            return None
        outcome = known_outcome(source, store, stamps, kinds)
        return None if outcome is None else kept(outcome, cut)

    places = (store.path, *(source.path for source in sources if source.path is not None))
    slowest = min(map(store_of, places), key=lambda place: place.sample)
    return slowest.in_parallel(known, sources)
