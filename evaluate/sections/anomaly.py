"""The report on anomaly detection: AUROCs, histograms, and heat maps over whole images."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nlbs.errors import ConfigError
from nlbs.evaluate.measures.anomaly import (
    SCORES,
    SUMMARIES,
    PatchScores,
    aurocs,
    by_image,
    images_of,
    score_rows,
    told,
)
from nlbs.evaluate.measures.arrays import Floats, grey_of
from nlbs.evaluate.measures.model_view import encode
from nlbs.evaluate.real_patches import FITS, Rows, rows_to_judge_on, subsample
from nlbs.evaluate.report import Picture, Section, Table, picture
from nlbs.evaluate.sections import charts
from nlbs.evaluate.sections.charts import Places, lay_out, painted
from nlbs.manifests.captions import short_name
from nlbs.manifests.schema import Schema
from nlbs.models.contract import Bounds, GenerativeModel, lacks
from nlbs.pictures import contact_sheet, write_png
from nlbs.shards import ShardSet
from nlbs.shards.format.manifest import indices, one_array
from nlbs.shards.format.payload import foreground_word
from nlbs.text import listed

_RANKED_BY = "negative_elbo"
_PANEL_PX = 340
_BLUR = 4  #: error maps are averaged over squares of so many pixels: single pixels are noise


@dataclass(frozen=True)
class Search:
    """What is scored, and with which model."""

    model: GenerativeModel
    shards: ShardSet
    fit: str
    split: str
    healthy: str  #: filter of healthy patches
    abnormal: str  #: filter of abnormal ones
    most_images: int  #: scored at most, of each kind half
    seed: int
    allow_train: bool = False
    say: Callable[[str], None] = lambda line: None


def anomaly_sections(search: Search, heat_maps: int, out: Path) -> list[Section]:
    """Return the sections; heat maps are written into ``out`` as PNG too.

    Raises:
        ConfigError: the model bounds no likelihood, a filter takes nothing, or both take the same patches.
    """
    if not isinstance(search.model, Bounds):
        raise ConfigError(
            f"anomaly scores are errors of reconstructions and nats, and {lacks(search.model, 'bound a likelihood')}; "
            "take a checkpoint of another family"
        )
    rows, abnormal = chosen_rows(search)
    search.say(f"scoring {len(rows):,} patches")
    found = score_rows(search.model, search.shards, rows, abnormal, search.fit)
    section = _scores(search, found)
    maps = Section("heat-maps", "Most abnormal images", [
        f"The {heat_maps} images that score highest by {_RANKED_BY.replace('_', ' ')}, healthy ones among them. Left: "
        "the image, as far as it was cut into patches. Middle: |x - reconstruction|. Right: the score of each patch, "
        "averaged where patches overlap, from the median of healthy patches (nothing) to the highest found (white)."
    ])  # fmt: skip
    shown = list(_heat_maps(search, found, rows, heat_maps, out)) if heat_maps else []
    maps.pictures.append(("", shown))
    maps.figures = {"images": len(shown)}
    return [section, maps]


def chosen_rows(search: Search) -> tuple[Rows, npt.NDArray[np.bool_]]:
    """Return the rows to score, sorted, and which of them are abnormal: all patches of each image that is taken.

    Raises:
        ConfigError: a filter takes nothing, or both take the same patches.
    """
    shards = search.shards
    kinds = [
        rows_to_judge_on(shards, search.split, where, search.allow_train)
        for where in (search.healthy, search.abnormal)
    ]
    both = np.intersect1d(kinds[0], kinds[1])
    if len(both):
        raise ConfigError(
            f"{len(both):,} patches are healthy by {search.healthy!r} and abnormal by {search.abnormal!r}: give "
            "filters that exclude each other"
        )
    image_of, patient_of = (indices(shards.manifest[name]).to_numpy() for name in ("image", "patient"))
    taken = []
    for rows in kinds:
        images, first = np.unique(image_of[rows], return_index=True)
        some = subsample(patient_of[rows[first]], max(1, search.most_images // 2), search.seed)
        taken.append(rows[np.isin(image_of[rows], images[some])])
    rows = np.concatenate(taken)
    order = np.argsort(rows)
    abnormal = np.repeat([False, True], [len(one) for one in taken])
    return rows[order], abnormal[order]


def _scores(search: Search, found: PatchScores) -> Section:
    table = aurocs(found, search.seed)
    _, patients, abnormal = images_of(found)
    section = Section("anomaly", "Anomaly scores", [
        f"Abnormal: {search.abnormal}. Healthy: {search.healthy}. The model is told {_told(search.model.schema)}. A "
        "patch counts as abnormal where its image is, though most patches of such an image show nothing: AUROCs of "
        "patches stay low even for a perfect score."
    ])  # fmt: skip
    section.figures = {
        "healthy": search.healthy,
        "abnormal": search.abnormal,
        "patches": {"healthy": int((~found.abnormal).sum()), "abnormal": int(found.abnormal.sum())},
        "images": {"healthy": int((~abnormal).sum()), "abnormal": int(abnormal.sum())},
        "patients": len(np.unique(patients)),
        "laplace_scale": found.scale,
        "auroc": table,
    }
    kinds = {"patch": "patches", "max": f"images: {SUMMARIES['max']}", "top": f"images: {SUMMARIES['top']}"}
    section.tables.append(
        Table(
            "AUROC",
            ["score", *kinds.values()],
            [
                (words, *(table[name][kind] for kind in kinds))
                for name, words in _scores_in_words(search).items()
            ],
            f"{int(abnormal.sum()):,} abnormal and {int((~abnormal).sum()):,} healthy images of "
            f"{len(np.unique(patients)):,} patients. Intervals: 95 %, by patient. Chance is .5.",
        )
    )
    section.pictures.append(
        ("Healthy against abnormal", list(_histograms(found, abnormal, _scores_in_words(search))))
    )
    return section


def _told(schema: Schema) -> str:
    """Return in words what a model hears of each patch."""
    names = [short_name(condition) for condition in schema if condition.healthy is None]
    heard = [f"the {listed(names)} of each patch"] if names else []
    if len(names) < len(schema):
        heard.append("that nothing was found, whatever is known of it")
    return " and ".join(heard)


def _scores_in_words(search: Search) -> dict[str, str]:
    return {name: words.format(foreground_word(search.shards.parameters)) for name, words in SCORES.items()}


def _histograms(
    found: PatchScores, abnormal: npt.NDArray[np.bool_], in_words: Mapping[str, str]
) -> Iterator[Picture]:
    for name, words in in_words.items():
        values = found.scores[name]
        top = by_image(values, found.images, "top")
        for kind, scores, label in (("patches", values, found.abnormal), ("images", top, abnormal)):
            chart = charts.histograms({"healthy": scores[~label], "abnormal": scores[label]}, f"{words}")
            yield picture(chart, f"{name.replace('_', ' ')}, {kind}")


def _heat_maps(search: Search, found: PatchScores, rows: Rows, most: int, out: Path) -> Iterator[Picture]:
    """Yield pictures of the images with the highest scores, highest first, and write them."""
    images, _, abnormal = images_of(found)
    totals = by_image(found.scores[_RANKED_BY], found.images, "top")
    chosen = np.argsort(-totals, kind="stable")[:most]
    scores = found.scores[_RANKED_BY]
    healthy = scores[~found.abnormal]
    low, high = float(np.median(healthy)), float(scores.max())
    names = search.shards.manifest["image"].chunk(0).dictionary
    search.say(f"drawing heat maps of {len(chosen)} images")
    for earlier in out.glob("heat-map-[0-9]*.png"):  # of a report that is replaced
        if re.fullmatch(r"heat-map-\d+\.png", earlier.name):
            earlier.unlink()
    for rank, place in enumerate(chosen, 1):
        of_image = np.flatnonzero(found.images == images[place])
        name = names[int(images[place])].as_py()
        kind = "abnormal" if abnormal[place] else "healthy"
        caption = f"{rank}. image {name}, {kind}, {len(of_image)} patches, score {totals[place]:.0f} nats"
        page = _panels(search, rows[of_image], scores[of_image], (low, high), caption)
        write_png(out / f"heat-map-{rank:02d}.png", page, {"Image": name, "Label": kind})
        yield Picture(picture(page, caption).uri, caption)


def _panels(
    search: Search, rows: Rows, scores: Floats, span: tuple[float, float], title: str
) -> npt.NDArray[np.uint8]:
    model, shards = search.model, search.shards
    pixels = FITS[search.fit](shards.read(rows), model.resolution)
    again = grey_of(encode(model, pixels, told(model, shards, rows)).reconstructed)
    pixels = grey_of(pixels)
    apart = np.abs(pixels.astype(np.float64) - again) * (pixels > 0)
    edge = model.resolution // _BLUR * _BLUR
    apart = (
        apart[:, :edge, :edge]
        .reshape(len(rows), edge // _BLUR, _BLUR, edge // _BLUR, _BLUR)
        .mean(axis=(2, 4))
    )
    places = _places(shards, rows, search.fit, model.resolution)
    grey = lay_out(pixels.astype(np.float64), places)
    error, heat = lay_out(apart, places), lay_out(scores[:, None, None], places)
    worst = float(np.quantile(apart, 0.999)) or 1.0
    panels = [painted(grey, grey, 0, np.inf), painted(grey, error, 0, worst), painted(grey, heat, *span)]
    captions = ["patches at their places", f"error, white: {worst:.0f} of 255 or more", "score per patch"]
    return contact_sheet(panels, captions, columns=3, tile_px=_PANEL_PX, title=title)


def _places(shards: ShardSet, rows: Rows, fit: str, resolution: int) -> Places:
    """Return where the parts of patches lie that the model sees, in pixels of the source image."""
    y, x, scale = (one_array(shards.manifest[name])[rows].astype(np.float64) for name in ("y", "x", "scale"))
    if fit != "crop":
        return Places(y, x, shards.resolution * scale)
    start = (shards.resolution - resolution) // 2 * scale
    return Places(y + start, x + start, resolution * scale)
