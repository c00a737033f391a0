"""Every source file is decoded once into the store, in parallel; one bad file costs that file only."""

import math
import shutil
import tempfile
import warnings
from collections.abc import Generator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path

import joblib

from nlbs.preprocess.decode import DecodeOptions, decode_image
from nlbs.preprocess.grid import CutOptions, patches_of
from nlbs.preprocess.guard import FILE_TIMEOUT_S, decode_alone, decode_guarded
from nlbs.preprocess.known import known_outcomes
from nlbs.preprocess.outcome import Decoder, Outcome
from nlbs.preprocess.progress import Progress
from nlbs.preprocess.sources import Source
from nlbs.preprocess.store import ImageStore

#: Holds a note per file in the hands of a worker, inside the store's folder.
_IN_HAND = ".in-hand"


def ingest(
    sources: Sequence[Source],
    store: ImageStore,
    options: DecodeOptions,
    cut: CutOptions,
    stamps: dict[str, str],
    jobs: int,
    most_failures: float = math.inf,
    timeout_s: float = FILE_TIMEOUT_S,
    decode: Decoder = decode_image,
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
        timeout_s: seconds that one file may take in a worker process.
        decode: turns a file into an image.
    """
    known = known_outcomes(sources, store, stamps)
    outcomes = {row: outcome for row, outcome in known.items() if outcome is not None}
    waiting = [source for source in sources if source.row.row not in outcomes]
    failed = sum(outcome.is_failure for outcome in outcomes.values())
    decoded = _decoded(waiting, store, options, decode, jobs, timeout_s)
    with Progress("Decoding", len(waiting)) as progress, warnings.catch_warnings(), closing(decoded):
        # joblib's remark on results that nobody took, where too many failures stop the work.
        warnings.filterwarnings("ignore", message=".*successfully executed but not used")
        while len(outcomes) < len(sources) and failed <= most_failures:
            outcome = next(decoded)
            outcomes[outcome.source.row.row] = outcome
            failed += outcome.is_failure
            progress.advance(1, len(patches_of(outcome.record, cut)) if outcome.record else 0)
    not_reached = "the work was stopped before, because too many images failed"
    return [outcomes.get(source.row.row, Outcome(source, "not_reached", not_reached)) for source in sources]


def _decoded(
    waiting: Sequence[Source],
    store: ImageStore,
    options: DecodeOptions,
    decode: Decoder,
    jobs: int,
    timeout_s: float,
) -> Generator[Outcome, None, None]:
    """Gives the outcome of each source as it comes, whatever dies on the way."""
    left = {source.image: source for source in waiting}
    # Not in an object store: the notes are for processes of this machine, and have to be quick.
    notes = store.path / _IN_HAND if isinstance(store.path, Path) else Path(tempfile.mkdtemp(prefix="nlbs-"))
    try:
        while left:
            shutil.rmtree(notes, ignore_errors=True)
            notes.mkdir()
            run = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
            tasks = (
                joblib.delayed(decode_guarded)(source, store, options, decode, notes, timeout_s)
                for source in list(left.values())
            )
            try:
                with closing(run(tasks)) as results:
                    for outcome in results:
                        del left[outcome.source.image]
                        yield outcome
            except BrokenProcessPool:
                suspects = _suspects(notes, left)
                if not suspects:  # a worker died between two files: nothing of ours to blame
                    raise
                for source in suspects:
                    del left[source.image]
                    yield decode_alone(source, store, options, decode, timeout_s)
    finally:
        shutil.rmtree(notes, ignore_errors=True)


def _suspects(notes: Path, left: dict[str, Source]) -> list[Source]:
    """Gives the sources that some worker had in its hands when the pool broke."""
    return [left[note.name] for note in sorted(notes.iterdir()) if note.name in left]
