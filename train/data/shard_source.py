"""What a run reads: one shard set, or several in given shares."""

from collections.abc import Sequence

from nlbs.errors import ConfigError
from nlbs.paths import AnyPath
from nlbs.shards import ShardSet, open_shards
from nlbs.shards.reading.mixed_sets import MixedSource

Source = ShardSet | MixedSource


def open_source(
    folders: Sequence[AnyPath],
    mix: Sequence[float] | None,
    cache_gb: float | None = None,
    generation: int | None = None,
    verify: str = "first",
    on_damage: str = "raise",
) -> Source:
    """Open the shard sets of a run.

    Args:
        folders: shard sets, or dataset roots that hold one each.
        mix: the share of each in every batch; None where there is one.
        cache_gb, verify, on_damage: as for :func:`nlbs.shards.open_shards`.
        generation: likewise, of one set.

    Raises:
        ShardError: a set cannot be opened.
        ConfigError: shares that do not fit the sets, or sets that cannot be mixed.
    """
    if len(folders) == 1 and (mix is None or len(mix) == 1):
        return open_shards(folders[0], generation, cache_gb, verify, on_damage)
    if generation is not None:
        raise ConfigError(
            f"--generation {generation} is that of one shard set, but {len(folders)} are given; give one --shards, or "
            "mix the sets as they are now"
        )
    if mix is None:
        raise ConfigError(
            f"{len(folders)} shard sets are given; say what share of each batch every one has, for example --mix "
            f"{','.join(['1'] * len(folders))}"
        )
    return MixedSource([open_shards(folder, None, cache_gb, verify, on_damage) for folder in folders], mix)


def earlier_generations(source: Source) -> dict[str, int]:
    """Return the numbers of a set's earlier generations by their ids; nothing of a mixture."""
    if isinstance(source, MixedSource):
        return {}
    history = source.info.get("history", [])
    return {str(one["dataset_id"]): number for number, one in enumerate(history, 1)}
