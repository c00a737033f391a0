"""The data card of a shard set: README.md for people and the Hugging Face hub, ``croissant.json`` for programs.

Both are written where a set is completed (:mod:`nlbs.shards.format.commit`), and stand beside it: nothing that reads or
checks a set asks for them. Nothing in them identifies: no path, date or id of a patient or an image.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from nlbs import __version__
from nlbs.card import (
    CARD,
    UNKNOWN_LICENCE,
    About,
    blocks_of,
    cell,
    licence_of,
    markdown,
    marked,
    read_card,
    with_blocks,
    write_card,
)
from nlbs.errors import ConfigError
from nlbs.files import read_json, write_json
from nlbs.manifests.people.splits import SPLITS
from nlbs.manifests.schema import BETWEEN_LABELS, NLBS
from nlbs.paths import AnyPath
from nlbs.shards.format.counts import UNKNOWN, by_condition, by_split, extra_columns, images_of, totals
from nlbs.shards.format.croissant import croissant
from nlbs.shards.format.layout import IMAGES_CSV, read_shard_set_json, shard_sets_in
from nlbs.shards.format.manifest import read_manifest
from nlbs.shards.format.payload import channels_of, foreground_word
from nlbs.text import counted

CROISSANT = "croissant.json"
UNNAMED = "Unnamed dataset"

_MOST_VALUES = 20  #: of a kept column that are counted one by one, the most frequent
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "n>1B")
_OWN = "the foreground's own range; MONOCHROME1 inverted"
_VOI = {
    "auto": f"the header's VOI LUT, else its window, else {_OWN}",
    "lut": f"the header's VOI LUT, else {_OWN}",
    "window": f"the header's window, else {_OWN}",
    "range": _OWN,
}
_NAME = re.compile(r'^pretty_name:[ \t]*("(?:[^"\\]|\\.)*"|.*?)[ \t]*$', re.MULTILINE)
_SIZE = re.compile(r"(?<=^size_categories:\n- )\S+$", re.MULTILINE)
_TEXT = """\
---
license: {licence}
pretty_name: {name}
task_categories:
- unconditional-image-generation
- image-classification
size_categories:
- {size}
tags:
{tags}
---

<!-- What stands between two marks "nlbs-cvae" is written by its programs, again and again; all else is yours. -->

{set}

## Intended use

Research and teaching with image models: to train and judge them on the same patches, without opening a DICOM file.

**Not for diagnosis**, triage, or anything that touches a patient. Pixels are made for display and cut into patches;
conditions are what a table and the DICOM headers say, and may be wrong. Who is in these data is not everybody: what is
found on them need not hold for other people, machines or hospitals.

```python
from nlbs.shards import open_shards

shards = open_shards("FOLDER")  # this folder
print(shards[0].conditions)
patches = shards.read(shards.rows("train")[:8])  # a NumPy array
```

Train, validation and test patches share files: the column `split` of `manifest.arrow` divides them, by patient, and so
does `split` in the record beside each patch of a tar shard. `croissant.json` describes the files for other programs.

## Counts

{counts}

## Whom it shows

{whom}

## Licence

{told_licence}
"""
_FOR = ", for research and teaching, not for diagnosis"
_TO_CHOOSE = (
    "unknown: choose one under the terms of the data before you share it, with "
    "`nlbs-preprocess card --shards FOLDER --license NAME`."
)
_PEOPLE = """\
No names, dates, paths or DICOM headers stand in it. Images and patients have ids by a secret key; ages above 89 are
told as 90. Nobody has looked for text that was burnt into the foreground of an image. `sources.csv` in the folder above
leads back to the files, and is not to be passed on."""
_NOBODY = """\
Nobody: every picture is synthetic. Each patch is an image and a patient of its own, whose ids begin with `s`. A model
may repeat images that it was trained on: measure it with `nlbs-evaluate` before anybody outside sees them, and do not
mix them with real patches without keeping the column `synthetic`."""


def write_set_card(
    folder: AnyPath, table: pa.Table, info: Mapping[str, Any], like: AnyPath | None = None
) -> None:
    """Write both files of a shard set that is being completed; a README.md of somebody else is left as it is.

    Args:
        folder: of the set.
        table: its manifest.
        info: all that ``shard_set.json`` says.
        like: a set whose licence and name it has; None: another one of its root.
    """
    _write(folder, table, info, _about(folder, like))


def rewrite_set_card(folder: AnyPath, about: About, dataset: str = "", where_other: bool = False) -> AnyPath:
    """Write both files of a complete shard set anew; return the card, or the other file where README.md is not ours.

    Args:
        folder: of the set.
        about: what is said of it now.
        dataset: its name where nobody has named it.
        where_other: leave files that say the same as they are, and do not read the set.

    Raises:
        ShardError: the set cannot be read.
    """
    before = _about(folder)
    now = About(about.licence or before.licence, about.name or before.name or dataset or None)
    if not where_other or now != before or not all((folder / name).is_file() for name in (CARD, CROISSANT)):
        info = read_shard_set_json(folder)
        manifest = info["manifest"]
        table = read_manifest(folder / manifest["name"], info["dataset_id"], manifest["rows"])
        _write(folder, table, info, now)
    return folder / (CARD if blocks_of(read_card(folder) or "") else CROISSANT)


def _about(folder: AnyPath, like: AnyPath | None = None) -> About:
    """Return what the card of a set says, else that of ``like`` or of another set of its root."""
    others = [like] if like is not None else []
    if (folder.parent / IMAGES_CSV).is_file():  # what lies together elsewhere may be of other data
        others += shard_sets_in(folder.parent)
    for place in (folder, *others):
        text = read_card(place)
        if text is not None and blocks_of(text):
            licence, name = licence_of(text), _name_of(text)
            try:
                return About(
                    None if licence == UNKNOWN_LICENCE else licence, None if name == UNNAMED else name
                )
            except ConfigError:  # whatever a person made of it
                return About()
    return About()


def _name_of(text: str) -> str:
    found = _NAME.search(text.partition("\n---\n")[0])
    if found is None:
        return UNNAMED
    try:
        return str(json.loads(found[1])) if found[1].startswith('"') else found[1] or UNNAMED
    except ValueError:
        return UNNAMED


def _write(folder: AnyPath, table: pa.Table, info: Mapping[str, Any], about: About) -> None:
    licence, name = about.licence or UNKNOWN_LICENCE, about.name or UNNAMED
    there = read_card(folder)
    text = there
    if there is None and not (folder / CARD).exists():
        text = _new(table, info, licence, name)
    elif there is not None and blocks_of(there):
        text = _renewed(there, table, info, licence, name)
    if text is not None and text != there:
        write_card(folder, text)
    told = {"name": name, "license": licence, "description": _in_short(info, name)}
    before = _croissant_of(folder)
    described = {
        **before,
        **croissant(table, info, told),
    }  # a citation, an address: what a person added stays
    if described != before:
        write_json(folder / CROISSANT, described)


def _croissant_of(folder: AnyPath) -> dict[str, Any]:
    try:
        found = read_json(folder / CROISSANT)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _new(table: pa.Table, info: Mapping[str, Any], licence: str, name: str) -> str:
    tags = ["medical-imaging", "croissant"]
    tags += ["mammography"] if foreground_word(info["parameters"]) == "breast" else []
    tags += ["webdataset"] if info["parameters"]["container"] == "tar" else ["zarr"]
    tags += ["synthetic-data"] if info.get("synthetic") else []
    said = licence if licence != UNKNOWN_LICENCE else _TO_CHOOSE
    return _TEXT.format(
        licence=licence,
        name=json.dumps(name),
        size=_size(info["counts"]["patches"]),
        tags="\n".join(f"- {tag}" for tag in sorted(tags)),
        whom=_NOBODY if info.get("synthetic") else _PEOPLE,
        told_licence=marked("licence", f"{said}\n"),
        **{block: marked(block, body) for block, body in _blocks(table, info, name).items()},
    )


def _renewed(text: str, table: pa.Table, info: Mapping[str, Any], licence: str, name: str) -> str:
    """Return a card with what is known now; its first lines keep what a person added."""
    said = licence if licence != UNKNOWN_LICENCE else _TO_CHOOSE
    text = with_blocks(text, {**_blocks(table, info, name), "licence": f"{said}\n"})
    head, mark, rest = text.partition("\n---\n")
    if licence != licence_of(text):
        head = re.sub(r"^licen[sc]e:.*$", f"license: {licence}", head, count=1, flags=re.MULTILINE)
    if name != _name_of(text):
        head = _NAME.sub(lambda _: f"pretty_name: {json.dumps(name)}", head, count=1)
    return _SIZE.sub(_size(info["counts"]["patches"]), head, count=1) + mark + rest


def _size(patches: int) -> str:
    """Return the size category of the Hugging Face hub: a power of ten each."""
    return _SIZES[min(max(len(str(patches)) - 3, 0), len(_SIZES) - 1)]


def _in_short(info: Mapping[str, Any], name: str) -> str:
    cut, counts = info["parameters"], info["counts"]
    synthetic = "synthetic " if info.get("synthetic") else ""
    return (
        f"{name}: {counted(counts['patches'], f'{synthetic}patch', f'{synthetic}patches')} of "
        f"{cut['resolution']}x{cut['resolution']} pixels from {counted(counts['images'], 'image')}{_FOR}"
    )


def _blocks(table: pa.Table, info: Mapping[str, Any], name: str) -> dict[str, str]:
    images = images_of(table)
    synthetic = info.get("synthetic")
    nobody = "**Every picture in it is synthetic**: none shows a person.\n\n" if synthetic else ""
    facts = markdown({"": [("", ""), *_facts(info, images, name)]})
    return {
        "set": f"# {cell(_in_short(info, name).removesuffix(_FOR))}\n\n{nobody}{facts}",
        "counts": markdown({"Splits": _split_rows(images), "Conditions": _value_rows(images, table)}),
    }


def _facts(info: Mapping[str, Any], images: pd.DataFrame, name: str) -> Iterator[tuple[str, str]]:
    cut, of_all, shards = info["parameters"], totals(images), info["shards"]
    colour = "in colour" if channels_of(cut) == 3 else "grey"
    size = "x".join([str(cut["resolution"])] * 2)
    yield "dataset", name
    yield "patches", f"{of_all['patches']:,} of {size} pixels, {cut['dtype']}, {colour}"
    yield "from", f"{counted(of_all['images'], 'image')} of {counted(of_all['patients'], 'patient')}"
    if synthetic := info.get("synthetic"):
        yield "drawn by", f"model {synthetic['model']}, {synthetic['sampler']}, seed {synthetic['seed']}"
        yield "conditions", f"what the model was asked for: {synthetic['conditions']}"
    else:
        yield from _of_images(cut, foreground_word(cut))
    compression = cut.get("compression", "none")
    stored = cut["container"] + ("" if compression == "none" else f", {compression}")
    nbytes = sum(shard["bytes"] for shard in shards)
    yield "files", f"{counted(len(shards), 'shard')} ({stored}), {nbytes / 1e6:,.1f} MB, and manifest.arrow"
    yield "unknown", "null in the manifest and the records, never 0; told as unknown below"
    version = f"generation {info.get('generation', 1)}, format version {info['format_version']}"
    yield "id", f"{info['dataset_id']}, {version}"
    yield "made with", f"nlbs-cvae {__version__}"


def _of_images(cut: Mapping[str, Any], what: str) -> Iterator[tuple[str, str]]:
    """Yield how patches were cut, and what their pixels are; ``what`` is the foreground in a word."""
    spacing = "each image's own"
    if cut.get("mode") == "whole":
        yield "cut", f"one patch per image: the whole {what}, its aspect kept, air beside it"
        spacing = "differs, as each image is made to fit: see the column scale"
    else:
        least = f"at least {100 * cut['min_foreground']:g} % {what}"
        yield "cut", f"on a grid of {cut['stride']} pixels (stride), {least}"
    if cut.get("spacing_mm") is not None:
        spacing = f"{cut['spacing_mm']:g} mm, resampled"
    yield "pixel spacing", spacing
    if channels_of(cut) == 3:
        yield "colours", "as in the file"
    else:
        yield "grey values", _VOI.get(str(cut.get("voi")), "made for display")
    cleared = not cut.get("keep_background") and what in ("breast", "body")
    yield "outside", f"air, 0, beyond the {what} and a margin" if cleared else "as in the image"


def _split_rows(images: pd.DataFrame) -> list[tuple[object, ...]]:
    rows = [(split, *(f"{n:,}" for n in counts.values())) for split, counts in by_split(images).items()]
    return [("split", "patches", "images", "patients"), *rows]


def _value_rows(images: pd.DataFrame, table: pa.Table) -> list[tuple[object, ...]]:
    """Return a row for each value of each condition and kept column: patches of each split, images, patients."""
    heads = ("condition", "value", *(f"{split} patches" for split in SPLITS), "images", "patients")
    rows: list[tuple[object, ...]] = [heads]
    kept = [name for name in extra_columns(table) if images[name].nunique() > 0]
    for name in (*NLBS.names, *kept):
        held = images if name in NLBS else _by_label(images, name)
        values = by_condition(held, [name])[name]
        if list(values) == [UNKNOWN]:
            rows.append((name.replace("_", " "), "unknown of all", *("",) * 5))
            continue
        told = sorted(values, key=lambda value: -values[value]["all"]["patches"])[:_MOST_VALUES]
        for value, counts in values.items():
            if value in told:
                cells = [counts[split]["patches"] for split in SPLITS]
                cells += [counts["all"]["images"], counts["all"]["patients"]]
                rows.append((name.replace("_", " "), value, *(f"{cell:,}" for cell in cells)))
        if len(values) > len(told):
            rows.append((name.replace("_", " "), f"{len(values) - len(told)} more values", *("",) * 5))
    return rows


def _by_label(images: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return images with one row for each label of a kept column: an image may have several."""
    words = images[name].fillna(UNKNOWN).str.split(BETWEEN_LABELS, regex=False)
    return images.assign(**{name: words}).explode(name)
