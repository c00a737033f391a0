"""Every source file is decoded once into the store, in parallel; one bad file costs that file only."""

import math
import shutil
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from nlbs.errors import DatasetError
from nlbs.files import refuse_link
from nlbs.preprocess.root.decoding import Decoding, decode_alone, decode_guarded
from nlbs.preprocess.root.forecast import FIRST, Forecast
from nlbs.preprocess.root.preflight import require_decoders
from nlbs.preprocess.root.sources import Source
from nlbs.preprocess.workers import WORKER_DIED, Workers, WorkersDied
from nlbs.progress import Progress
from nlbs.stores import store_of

_IN_HAND = ".in-hand"
_WORTH_A_FORECAST = 4 * FIRST  #: images to decode
#: How often workers may die with no file in their hands before the work stops.
_MOST_BROKEN_POOLS = 2


def ingest(
    sources: Sequence[Source],
    how: Decoding,
    stamps: Mapping[str, str],
    workers: Workers,
    most_failures: float = math.inf,
    notes: Path | None = None,
    forecast: Forecast | None = None,
) -> list[Source]:
    """Decode what the store does not hold yet; return what is known of each image now, in their order.

    Where more than ``most_failures`` images fail, the rest is left with the status "not_reached".

    Args:
        sources: one per row of the table.
        how: to decode, and into which store.
        stamps: image id -> stamp of the file that the store's image was decoded from.
        workers: who decodes.
        most_failures: how many images may fail before the work stops.
        notes: folder, made here, for the names of files in the hands of workers; None is one in the store, or
            a temporary one where the store is remote.
        forecast: that counts the first images; None: one of these, which is said where many are to come.

    Raises:
        DatasetError: no file that is still to be decoded has a decoder here.
    """
    notes = notes or store_of(how.store.path).scratch_folder(how.store.path, _IN_HAND)
    notes = notes.absolute()  # for workers that stand in another folder
    refuse_link(notes)
    shutil.rmtree(notes, ignore_errors=True)  # of a run that was killed
    found = known_sources(sources, how, stamps)
    waiting = {source.image: at for at, source in enumerate(sources) if found[at] is None}
    failed = sum(source.is_failure for source in found if source is not None)
    left = {image: sources[at] for image, at in waiting.items()}
    warning = require_decoders([source.path for source in left.values() if source.path], how.options.decoder)
    if warning:
        print(warning, file=sys.stderr)
    if forecast is None:
        forecast = Forecast(len(waiting), how.cut, how.store)
    decoding = _decoded(left, replace(how, store=type(how.store)(how.store.path.absolute())), workers, notes)
    with Progress("Decoding", len(waiting)) as progress, closing(decoding):
        while left and failed <= most_failures:
            decoded = next(decoding)
            at = waiting[decoded.image]
            found[at] = _in_few_words(decoded, sources[at])
            failed += decoded.is_failure
            progress.advance(1, decoded.patches)
            if forecast.seen < FIRST:
                is_there = decoded.status == "ok"
                forecast.add(decoded.patches, how.store.path / decoded.image if is_there else None)
                if forecast.seen == FIRST and len(waiting) >= _WORTH_A_FORECAST:
                    progress.say(forecast.line(how.store.path.parent))
    not_reached = "the work was stopped before, because too many images failed"
    return [
        now or replace(source, status="not_reached", reason=not_reached)
        for now, source in zip(found, sources, strict=True)
    ]


def _in_few_words(decoded: Source, given: Source) -> Source:
    """Return what came back from a worker with the objects of the record that was given to it, not copies."""
    return replace(
        decoded,
        row=given.row,
        image=given.image,
        patient=given.patient,
        split=given.split,
        path=given.path,
        status=sys.intern(decoded.status),
        kind=sys.intern(decoded.kind),
    )


def _decoded(
    left: dict[str, Source], how: Decoding, workers: Workers, notes: Path
) -> Generator[Source, None, None]:
    """Take each source out of ``left`` and return its outcome, as it comes, whatever dies on the way."""
    broken = 0
    try:
        while left:
            shutil.rmtree(notes, ignore_errors=True)
            notes.mkdir(parents=True)
            try:
                with closing(_run(list(left.values()), how, workers, notes)) as results:
                    for decoded in results:
                        del left[decoded.image]
                        yield decoded
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
) -> Generator[Source, None, None]:
    placed = (replace(source, path=source.path and source.path.absolute()) for source in sources)
    return workers.run_fenced(decode_guarded, ((source, how, notes) for source in placed), how.store.path)


def _suspects(notes: Path, left: dict[str, Source], workers: Workers) -> list[Source]:
    """Return the sources that some worker had in its hands when it died."""
    if workers.backend == "dask":  # which has done everything else
        return list(left.values())
    return [left[note.name] for note in sorted(notes.iterdir()) if note.name in left]


def known_sources(sources: Sequence[Source], how: Decoding, stamps: Mapping[str, str]) -> list[Source | None]:
    """Return what is known of each image without opening its file, in order; None where it has to be decoded.

    The store is listed once, so that only images which it holds are asked for.

    Args: as for :func:`ingest`.
    """
    store = how.store.path
    held = {path.name for path in store.glob("*")}

    def known(source: Source) -> Source | None:
        new = source.image not in held and source.path is not None and source.row.kind is None
        return None if new else how.known(source, stamps)

    places = (store, *(source.path for source in sources if source.path is not None))
    slowest = min(map(store_of, places), key=lambda place: place.sample)
    return slowest.in_parallel(known, sources)
