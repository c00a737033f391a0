"""One patch of a shard set with what is known of it, and how sets and patches look in a notebook."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nlbs.manifests.captions import caption
from nlbs.manifests.people.splits import SPLITS
from nlbs.manifests.schema import NLBS, POSITION
from nlbs.manifests.schema_choice import offered
from nlbs.shards.format.payload import Pixels

if TYPE_CHECKING:
    from nlbs.shards.reading.shard_set import ShardSet

_SHOWN = 8


@dataclass(frozen=True, eq=False, repr=False)
class Patch:
    """A patch of a shard set."""

    pixels: Pixels  #: (R, R), or (R, R, 3) in colour; air 0
    conditions: Mapping[
        str, str
    ]  #: the five of NLBS, and whatever else the set keeps, in words; "" is unknown
    row: int  #: of the manifest

    def __repr__(self) -> str:
        size = "x".join(map(str, self.pixels.shape))
        known = ", ".join(f"{name} {word}" for name, word in self.conditions.items() if word)
        return f"Patch({size} {self.pixels.dtype}, row {self.row}: {known or 'nothing is known of it'})"

    def _repr_html_(self) -> str:
        from nlbs.pictures import sheet_html, table_html

        return sheet_html([self.pixels], [""], "") + table_html(f"row {self.row}", self.conditions)


def patch_of(shards: "ShardSet", row: int) -> Patch:
    """Return the patch of a row of the manifest."""
    return Patch(shards.read([row])[0], words_of(shards, [row])[0], row)


def words_of(shards: "ShardSet", rows: npt.ArrayLike) -> list[dict[str, str]]:
    """Return what is known of the patches of some rows, in words, as :class:`Patch` has them; reads no pixels."""
    columns = shards.conditions(rows)
    found = [NLBS.words(NLBS.values_of(columns, place)) for place in range(len(np.atleast_1d(rows)))]
    kept = [
        name
        for name in offered(shards.code_books)
        if name not in NLBS and name != POSITION.name and name in shards.manifest.column_names
    ]
    for words, more in zip(found, shards.manifest.select(kept).take(rows).to_pylist(), strict=True):
        words |= {name: "" if value is None else str(value) for name, value in more.items()}
    return found


def html_of(shards: "ShardSet") -> str:
    """Return a shard set as HTML for a notebook: what it holds, and some patches at equal distances."""
    from nlbs.pictures import sheet_html, table_html

    count = min(len(shards), _SHOWN)
    patches = [patch_of(shards, number * len(shards) // count) for number in range(count)]
    size = "x".join(map(str, shards.patch_shape))
    facts = {
        "patches": f"{len(shards):,} of {size} {shards.dtype}",
        **{split: f"{len(shards.rows(split)):,} patches" for split in SPLITS},
        "id": shards.dataset_id,
    }
    captions = [caption({name: patch.conditions[name] for name in NLBS.names}, NLBS) for patch in patches]
    sheet = sheet_html([patch.pixels for patch in patches], captions, "Some of them") if patches else ""
    return table_html(repr(shards), facts) + sheet
