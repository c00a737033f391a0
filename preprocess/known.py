"""What earlier runs have done, asked of an object store in few requests."""

from collections.abc import Sequence

from nlbs.paths import in_parallel, is_local
from nlbs.preprocess.outcome import Outcome, known_outcome
from nlbs.preprocess.sources import Source
from nlbs.preprocess.store import ImageStore


def known_outcomes(
    sources: Sequence[Source], store: ImageStore, stamps: dict[str, str]
) -> dict[int, Outcome | None]:
    """Gives what is known of each source without opening its file, by row; None where it has to be decoded.

    A remote store is listed once, so that only images which it holds cost requests of their own.

    Args:
        sources, store, stamps: as for :func:`~nlbs.preprocess.outcome.known_outcome`.
    """
    held = None if is_local(store.path) else {path.name for path in store.path.iterdir()}

    def known(source: Source) -> Outcome | None:
        if held is not None and source.path is not None and source.image not in held:
            return None
        return known_outcome(source, store, stamps)

    places = (store.path, *(source.path for source in sources if source.path is not None))
    remote = next((place for place in places if not is_local(place)), store.path)
    outcomes = in_parallel(remote, known, sources)
    return {source.row.row: outcome for source, outcome in zip(sources, outcomes, strict=True)}
