"""What earlier runs have done, asked of an object store in few requests."""

from collections.abc import Sequence

from nlbs.manifests.kinds import KINDS
from nlbs.paths import in_parallel, is_local
from nlbs.preprocess.grid import CutOptions
from nlbs.preprocess.kept import kept
from nlbs.preprocess.outcome import Outcome, known_outcome
from nlbs.preprocess.sources import Source
from nlbs.preprocess.store import ImageStore


def known_outcomes(
    sources: Sequence[Source],
    store: ImageStore,
    cut: CutOptions,
    stamps: dict[str, str],
    kinds: tuple[str, ...] = tuple(KINDS),
) -> list[Outcome | None]:
    """Gives what is known of each source without opening its file, in order; None where it has to be decoded.

    What only the store needs is left out: see :mod:`nlbs.preprocess.kept`.

    A remote store is listed once, so that only images which it holds cost requests of their own.

    Args:
        sources, store, stamps: as for :func:`~nlbs.preprocess.outcome.known_outcome`.
        cut: tells the patches.
        kinds: those that are asked for.
    """
    held = None if is_local(store.path) else {path.name for path in store.path.iterdir()}

    def known(source: Source) -> Outcome | None:
        if (
            held is not None
            and source.path is not None
            and source.image not in held
            and source.row.kind is None
        ):
            return None
        outcome = known_outcome(source, store, stamps, kinds)
        return None if outcome is None else kept(outcome, cut)

    places = (store.path, *(source.path for source in sources if source.path is not None))
    remote = next((place for place in places if not is_local(place)), store.path)
    return in_parallel(remote, known, sources)
