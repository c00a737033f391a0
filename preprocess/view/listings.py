"""What stands on a page: the patches or images that a filter takes, some at a time, and rows without an image."""

import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nlbs.errors import ConfigError
from nlbs.manifests.captions import caption
from nlbs.manifests.people.splits import SPLITS
from nlbs.manifests.schema import NLBS, POSITION, Schema
from nlbs.manifests.schema_choice import offered
from nlbs.preprocess.report.page_images import Listing
from nlbs.preprocess.view.dataset import MissingError, Rows, Snapshot
from nlbs.shards import ShardSet
from nlbs.shards.format.columns import is_text
from nlbs.shards.format.where import explain_empty
from nlbs.shards.reading.patch import words_of

Asked = Mapping[str, str]  #: what stands behind the question mark of an address

PATCHES, IMAGES, SKIPPED = 48, 24, 100  #: on a page
#: Order of the patches -> in words.
ORDERS = {"": "as stored", "random": "at random"}
_SEED = 0  #: of the order at random: the same on every page and in every session
_MOST_VALUES = 12  #: of a column that are offered as filters
_PLACES = ("shard", "offset", "nbytes", "crc32c")  #: columns about the file, of which nobody asks


def patch_listing(snapshot: Snapshot, asked: Asked) -> dict[str, Any]:
    """Return the values of the tab of patches: those that the filter of the address takes."""
    if snapshot.shards is None:
        return {"waiting": snapshot, **_form(asked)}
    values, rows = _filtered(snapshot.shards, asked)
    if values["order"] == "random":
        rows = np.random.default_rng(_SEED).permutation(rows)
    some, pages = _paged(rows, PATCHES, asked)
    return {**values, **pages, "waiting": None, "patches": _told(snapshot.shards, some)}


def image_listing(snapshot: Snapshot, asked: Asked) -> dict[str, Any]:
    """Return the values of the tab of images: those that have patches which the filter takes."""
    values = _form(asked)
    images: Sequence[str] = snapshot.images
    if snapshot.shards is not None:
        values, rows = _filtered(snapshot.shards, asked)
        if values["where"] or values["split"]:
            images = snapshot.images_of(rows)
    odd = "odd" in asked
    if odd:
        images = [name for name in images if name in snapshot.remarks]
    some, pages = _paged(images, IMAGES, asked)
    return {
        **values,
        **pages,
        "images": [_image(snapshot, name) for name in some],
        "odd": odd,
        "remarked": len(snapshot.remarks),
        "has_store": snapshot.store is not None,
        "waiting": snapshot if snapshot.shards is None else None,
    }


def image_page(snapshot: Snapshot, name: str) -> dict[str, Any]:
    """Return the values of the page of one image. Raises MissingError where there is none of that name."""
    if name not in snapshot.known:
        raise MissingError("there is no image of that name here")
    rows, found = snapshot.rows_of(name), snapshot.survey
    facts: dict[str, Any] = {}
    if found is not None:
        row = found.images[found.images["image"] == name].iloc[0]
        facts = {
            str(key): f"{value:.4g}" if isinstance(value, np.floating) else value
            for key, value in row.items()
            if key not in ("image", "pixels_sha256") and value == value and value != ""
        }
    patches = [] if snapshot.shards is None else _told(snapshot.shards, rows[:PATCHES])
    return {
        **_image(snapshot, name),
        "facts": facts,
        "patches": patches,
        "of": len(rows),
        "has_store": snapshot.store is not None,
        "all": urlencode({"where": f"image == {name!r}"}),
    }


def skipped_listing(snapshot: Snapshot, asked: Asked) -> dict[str, Any]:
    """Return the values of the tab of what was read: the report's section, its rows without an image by page."""
    read, status = snapshot.sections.get("read"), asked.get("status", "")
    if read is None or snapshot.survey is None:
        return {"read": None, "status": ""}
    kept = [row for row in snapshot.survey.skipped if status in ("", row["status"])]
    some, pages = _paged(kept, SKIPPED, asked)
    left = read["rows"] - snapshot.survey.statuses["ok"] - len(snapshot.survey.skipped)
    statuses = [name for name, _ in read["statuses"] if name != "ok"]
    return {
        **pages,
        "read": {**read, "skipped": Listing(some, 0)},
        "left": left,
        "status": status,
        "statuses": statuses,
    }


def _form(asked: Asked) -> dict[str, Any]:
    """Return what the form holds: the filter, the split, the order; and no error."""
    split, order = asked.get("split", ""), asked.get("order", "")
    return {
        "where": asked.get("where", "").strip(),
        "split": split if split in SPLITS else "",
        "splits": SPLITS,
        "order": order if order in ORDERS else "",
        "orders": ORDERS,
        "error": "",
        "empty": "",
        "columns": [],
    }


def _filtered(shards: ShardSet, asked: Asked) -> tuple[dict[str, Any], Rows]:
    """Return what the form holds with what is wrong with its filter, and the rows that it takes."""
    values = _form(asked)
    values["columns"] = _columns(shards)
    split, where = values["split"] or None, values["where"] or None
    try:
        rows = shards.rows(split, where)
        if where and not len(rows):
            values["empty"] = explain_empty(shards.manifest, where, shards.rows(split))
    except ConfigError as error:
        values["error"], rows = str(error), np.zeros(0, np.int64)
    return values, rows


def _paged(items: Any, size: int, asked: Asked) -> tuple[Any, dict[str, Any]]:
    """Return the items of the page that is asked for, and where it is among them; addresses of those beside it."""
    page = asked.get("page", "1")
    last = max(1, -(-len(items) // size))
    number = min(max(1, int(page) if page.isdecimal() and len(page) < 10 else 1), last)

    def address(place: int) -> str:
        return urlencode({**asked, "page": place}) if 1 <= place <= last and last > 1 else ""

    some = items[(number - 1) * size : number * size]
    neighbours = {"first": 1, "previous": number - 1, "next": number + 1, "last": last}
    beside = {word: "" if place == number else address(place) for word, place in neighbours.items()}
    return some, {"total": len(items), "number": number, "last": last, "beside": beside}


def _told(shards: ShardSet, rows: Rows) -> list[dict[str, Any]]:
    """Return of some patches their row, image, split and caption."""
    known = shards.manifest.select(["image", "split", "foreground"]).take(rows).to_pylist()
    schema = Schema(tuple(c for c in offered(shards.code_books).values() if c.name != POSITION.name))
    told = []
    for row, place, words in zip(rows.tolist(), known, words_of(shards, rows), strict=True):
        # Of what a set merely keeps, the unknown is passed over.
        shown = {name: word for name, word in words.items() if name in schema and (word or name in NLBS)}
        told.append({"row": row, **place, "caption": caption(shown, schema)})
    return told


def _image(snapshot: Snapshot, name: str) -> dict[str, Any]:
    """Return of an image its name, what is known of its first patch, how many it has, and what is unusual about it."""
    rows = snapshot.rows_of(name)
    first = _told(snapshot.shards, rows[:1]) if snapshot.shards is not None and len(rows) else []
    return {
        "name": name,
        "caption": first[0]["caption"] if first else "",
        "split": first[0]["split"] if first else "",
        "count": len(rows),
        "remark": snapshot.remarks.get(name, ""),
    }


def _columns(shards: ShardSet) -> list[dict[str, Any]]:
    """Return what a filter may ask for: each column of the manifest with some of its values as filters."""
    found = []
    for name in shards.manifest.column_names:
        if name in _PLACES or not name.isidentifier():
            continue
        column, words = shards.manifest[name], list(shards.code_books.get(name, ()))
        filters: list[tuple[str, str]] = []
        if is_text(column) and words and len(words) <= _MOST_VALUES:
            filters = [(word, f"{name} == {word!r}") for word in words]
        elif name in NLBS:
            filters = [(word, f"{name} == {code}") for code, word in enumerate(NLBS[name].values)]
        if column.null_count:
            filters.append(("unknown", f"{name} is null"))
        found.append(
            {
                "name": name,
                "holds": "text"
                if is_text(column)
                else "numbers, {min:.4g} to {max:.4g}".format(**_range(column)),
                "filters": [(word, urlencode({"where": text}), text) for word, text in filters],
            }
        )
    return found


def _range(column: pa.ChunkedArray) -> dict[str, float]:
    """Return the least and the greatest number of a column; NaN where none is known."""
    return {end: math.nan if value is None else value for end, value in pc.min_max(column).as_py().items()}
