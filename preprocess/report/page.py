"""One HTML page on a dataset root for a person: what was read, what it holds, and what to look at."""

import importlib.metadata
import shlex
from typing import Any

import numpy as np
from markupsafe import Markup

from nlbs import __version__
from nlbs.errors import DatasetError
from nlbs.files import atomic_file
from nlbs.paths import AnyPath
from nlbs.pictures import html_page
from nlbs.preprocess.images.grid import CUT_PRESETS
from nlbs.preprocess.report.info import store_info
from nlbs.preprocess.report.page_images import ImageSections
from nlbs.preprocess.report.page_patches import holds, patch_pictures
from nlbs.preprocess.report.survey import Survey, survey
from nlbs.shards import ShardSet, open_shards
from nlbs.shards.format.layout import IMAGES_CSV, STORE, find_shard_set, shard_sets_in
from nlbs.text import counted, printable

PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "pillow", "jinja2", "pydicom", "imagecodecs")

_MOST_CHARS = 500  #: of one text from a table

_MOST_PROBLEMS = 12  # lines on the table; images.csv has every row


def write_report(shards: AnyPath, out: AnyPath, images: int, patches: int, seed: int) -> list[str]:
    """Write the page; return lines that say where it is, what is left out and what asks for attention.

    Args:
        shards: a shard set, or a dataset root with one, or one whose build stopped before the first.
        out: the page, one file.
        images: pictures of images at most.
        patches: pictures of patches per split, and per value of a condition.
        seed: chooses which.

    Raises:
        NlbsError: ``out`` is a folder; neither a shard set nor an images.csv is there, or several sets to choose from,
            or damage.
    """
    if out.is_dir():
        raise DatasetError(f"{out} is a folder: --out takes the page to write, such as {out / 'report.html'}")
    root, folder = found_in(shards)
    found = survey(root) if root else None
    sections: dict[str, Any] = {"left_out": _missing(root, folder), "attention": []}
    if root and found:
        sections |= ImageSections(found, root, images, sections).all()
    shard_set = None
    if folder:
        with open_shards(folder) as shard_set:
            sections["holds"], held = holds(shard_set, found)
            sections["patches"] = patch_pictures(shard_set, held, patches, np.random.default_rng(seed))
    sections["made"] = {**_made(root, shard_set, found), "commands": _commands(root, folder, shard_set)}
    with atomic_file(out, "w", encoding="utf-8", newline="\n") as file:
        file.write(render(sections))
    lines = [f"Report      {out}"]
    lines += [f"  left out  {sentence}" for sentence in sections["left_out"]]
    return lines + [f"  look at   {sentence}" for sentence in sections["attention"]]


def render(sections: dict[str, Any]) -> str:
    """Return the page as HTML. Every text is escaped, and cut off where it is absurdly long."""
    known: dict[str, Any] = dict.fromkeys(
        ("read", "holds", "duplicates", "damage", "masks", "intensities", "patches")
    )
    return html_page("nlbs.preprocess.report", cut_off, **{**known, **sections}, counted=counted)


def found_in(shards: AnyPath) -> tuple[AnyPath | None, AnyPath | None]:
    """Return the dataset root, None without images.csv, and the shard set, None where there is none yet.

    Raises:
        ShardError: neither is there, or several sets to choose from.
    """
    if (shards / IMAGES_CSV).is_file() and not shard_sets_in(shards):
        return shards, None
    folder = find_shard_set(shards)
    named = folder if folder.name not in ("", "..") else folder.absolute()
    return (named.parent if (named.parent / IMAGES_CSV).is_file() else None), named


def _missing(root: AnyPath | None, folder: AnyPath | None) -> list[str]:
    sentences = []
    if folder is None:
        sentences.append("There is no complete shard set here: patches and their counts are left out.")
    if root is None:
        sentences.append(
            f"The shard set stands without the {IMAGES_CSV} it was cut from: what was read and skipped, equal images, "
            "masks, brightness and signs of damage are left out."
        )
    elif not (root / STORE).is_dir():
        sentences.append(f"There is no {STORE} here: pictures of images are left out.")
    return sentences


def _made(root: AnyPath | None, shard_set: ShardSet | None, found: Survey | None) -> dict[str, Any]:
    """Return parameters, sizes and versions."""
    provenance = ("decoder", "transfer_syntax", "voi", "mask_method")
    counts = found.counted if found else {}
    return {
        "title": shard_set.folder.name if shard_set else "no shard set yet",
        "dataset_id": shard_set.dataset_id if shard_set else None,
        "parameters": sorted(shard_set.parameters.items()) if shard_set else [],
        "store": store_info(root) if root else None,
        "decoding": [(name, counts[name].most_common(20)) for name in provenance if counts.get(name)],
        "versions": [("nlbs-cvae", __version__)]
        + [(package, importlib.metadata.version(package)) for package in PACKAGES],
    }


def _commands(root: AnyPath | None, folder: AnyPath | None, shard_set: ShardSet | None) -> list[str]:
    """Return the commands that go on from here, paths as they were given."""
    commands = []
    if folder and shard_set:
        shards = shlex.quote(str(folder))
        commands += [
            f"nlbs-preprocess info --shards {shards}",
            f"nlbs-preprocess verify --shards {shards}",
            f"nlbs-train --shards {shards} --device cuda",
            f"nlbs-train --shards {shards} --preset nlbs-small --device cpu",
        ]
    if root and (root / STORE).is_dir():
        reshard = f"nlbs-preprocess reshard --shards {shlex.quote(str(root))}"
        if shard_set:
            cut = shard_set.parameters
            stride = "--mode whole" if cut["stride"] is None else f"--stride {int(cut['stride'])}"
            commands.append(
                f"{reshard} --resolution {int(cut['resolution'])} {stride} "
                f"--min-foreground {float(cut['min_foreground']):g}"
            )
        commands += [f"{reshard} --preset {name}" for name in CUT_PRESETS]
    return commands


def cut_off(value: Any) -> Any:
    """Return a text that a page can hold; what is markup of ours stays as it is."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    if len(value) > _MOST_CHARS:
        value = f"{value[:_MOST_CHARS]}... ({len(value):,} characters)"
    return printable(value, keep="\n\t")
