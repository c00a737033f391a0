"""Anomaly scores by a model of healthy tissue: what it cannot rebuild, or finds unlikely, may be abnormal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nlbs.errors import ConfigError
from nlbs.evaluate.measures.arrays import Floats, Patches, grey_of
from nlbs.evaluate.measures.intervals import Interval, auroc_interval
from nlbs.evaluate.measures.model_view import encode
from nlbs.evaluate.real_patches import FITS, Rows
from nlbs.manifests.conditions import UNKNOWN, is_empty
from nlbs.manifests.schema import BETWEEN_LABELS, NLBS, NO_LABEL, Condition, Schema
from nlbs.models.contract import GenerativeModel
from nlbs.models.drawing import Codes
from nlbs.shards import ShardSet
from nlbs.shards.format.manifest import indices

#: score -> what it is, with a place for the foreground of the set in a word
SCORES = {
    "reconstruction_error": "mean |x - reconstruction| on the {}, grey levels of 255",
    "kl": "KL of q(z | x, c) from the prior, nats",
    "negative_elbo": "-log p(x) at most, nats: Laplace error at its own scale, and KL",
}
#: how the scores of an image's patches become one -> what it is
SUMMARIES = {"max": "the highest of its patches", "top": "mean of the highest tenth, at least three"}

_AT_ONCE = 256  #: patches read in one go
_TOP_SHARE, _TOP_LEAST = 0.1, 3


@dataclass(frozen=True)
class PatchScores:
    """Scores of patches, (n,) each, by the names of :data:`SCORES`."""

    scores: Mapping[str, Floats]
    images: npt.NDArray[np.int64]  #: (n,)
    patients: npt.NDArray[np.int64]
    abnormal: npt.NDArray[np.bool_]  #: by the label of the image
    scale: float  #: of the Laplace error in negative_elbo, on [-1, 1]


def healthy_conditions(conditions: Codes, schema: Schema) -> Codes:
    """Return the conditions with every finding denied: what is to be found must not be told to the model."""
    found = dict(conditions)
    for condition in schema:
        if condition.healthy is not None:
            found[condition.name] = np.full_like(conditions[condition.name], condition.healthy)
    return found


def default_filters(schema: Schema, code_books: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    """Return the filters of healthy and of abnormal patches: what the first condition that tells them apart says.

    Args:
        schema: of the model; one in which nothing tells them apart goes by cancer.
        code_books: of the shard set. What is unknown there is neither healthy nor abnormal.

    Raises:
        ConfigError: no word in its column is that of healthy patients.
    """
    condition = next((one for one in schema if one.healthy is not None), NLBS["cancer"])
    name, healthy = condition.name, condition.healthy
    if condition in NLBS:
        return f"{name} == {healthy}", f"{name} == {int(not healthy)}"
    says: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for word in code_books.get(name, ()):
        says[_says_healthy(condition, word)].append(word)
    if not says[True]:
        raise ConfigError(
            f"healthy patients should have no {condition.label}, and no patch of the shard set says so; give --healthy "
            'and --abnormal, filters such as "cancer == 0" and "cancer == 1"'
        )
    return f"{name} in {says[True]!r}", f"{name} not in {says[True] + says[None]!r}"


def _says_healthy(condition: Condition, word: str) -> bool | None:
    if is_empty(word):
        return None
    if condition.kind == "multilabel":
        return all(part.strip().casefold() in NO_LABEL for part in word.split(BETWEEN_LABELS))
    value = condition.stored(word)
    return None if value == UNKNOWN else value == condition.healthy


def told(model: GenerativeModel, shards: ShardSet, rows: Rows) -> Codes:
    """Return what a model is told of patches that it scores."""
    return healthy_conditions(shards.conditions(rows, model.schema), model.schema)


def score_rows(
    model: GenerativeModel,
    shards: ShardSet,
    rows: Rows,
    abnormal: npt.NDArray[np.bool_],
    fit: str = "downsample",
) -> PatchScores:
    """Return the scores of patches, read a few hundred at a time.

    Args:
        model: in eval mode.
        shards: the set.
        rows: of its manifest.
        abnormal: (n,) what is known of them.
        fit: how patches come to the model's size.
    """
    error, absolute, kl = (np.empty(len(rows)) for _ in range(3))
    for start in range(0, len(rows), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        pixels = FITS[fit](shards.read(rows[some]), model.resolution)
        found = encode(model, pixels, told(model, shards, rows[some]))
        error[some] = tissue_error(pixels, found.reconstructed)
        absolute[some], kl[some] = found.absolute_error, found.kl_levels.sum(axis=1)
    elbo, scale = negative_elbo(absolute, kl, model.image.channels * model.resolution**2)
    image, patient = (indices(shards.manifest[name]).to_numpy()[rows] for name in ("image", "patient"))
    scores = {"reconstruction_error": error, "kl": kl, "negative_elbo": elbo}
    return PatchScores(scores, image.astype(np.int64), patient.astype(np.int64), abnormal, scale)


def tissue_error(pixels: Patches, reconstructed: Patches) -> Floats:
    """Return mean ``|x - reconstruction|`` of luminance where x is no air, (n,) in grey levels; 0 where all is air."""
    pixels, reconstructed = grey_of(pixels), grey_of(reconstructed)
    tissue = pixels > 0
    apart = np.abs(pixels.astype(np.int16) - reconstructed) * tissue
    found: Floats = apart.sum(axis=(1, 2)) / np.maximum(tissue.sum(axis=(1, 2)), 1)
    return found


def negative_elbo(absolute_error: Floats, kl: Floats, pixels: int) -> tuple[Floats, float]:
    """Return ``N log 2b + |x - reconstruction| / b + KL`` in nats, (n,), and the scale b of the Laplace likelihood.

    b is the mean absolute error of all patches, which makes them likeliest (the optimum of sigma-VAE,
    2006.13202, for a Laplace): it needs no label, and models without a scale of their own have one.

    Args:
        absolute_error: (n,) sum over the pixels of a patch and their channels, on [-1, 1].
        kl: (n,) nats.
        pixels: N, of one patch, times channels.
    """
    scale = max(float(absolute_error.mean()) / pixels, 1e-6)
    return pixels * np.log(2 * scale) + absolute_error / scale + kl, scale


def by_image(values: Floats, images: npt.NDArray[np.int64], summary: str) -> Floats:
    """Return one score per image, in the order of the images' numbers.

    Args:
        values: (n,) scores of patches.
        images: (n,) whose they are.
        summary: a name of :data:`SUMMARIES`.
    """
    _, counts = np.unique(images, return_counts=True)
    order = np.lexsort((-values, images))
    starts = np.cumsum(counts) - counts
    if summary == "max":
        highest: Floats = values[order[starts]]
        return highest
    most = np.maximum(np.ceil(_TOP_SHARE * counts).astype(int), np.minimum(_TOP_LEAST, counts))
    return np.array(
        [values[order[start : start + count]].mean() for start, count in zip(starts, most, strict=True)]
    )


def images_of(found: PatchScores) -> tuple[Rows, Rows, npt.NDArray[np.bool_]]:
    """Return number, patient and label of each image, (m,) each; one abnormal patch makes it abnormal."""
    images, first, member = np.unique(found.images, return_index=True, return_inverse=True)
    return images, found.patients[first], np.bincount(member, weights=found.abnormal) > 0


def aurocs(found: PatchScores, seed: int = 0) -> dict[str, dict[str, Interval]]:
    """Return the AUROC of each score, of patches and of images, with intervals by patient.

    Returns:
        score -> "patch" or a name of :data:`SUMMARIES` -> AUROC.
    """
    _, patients, abnormal = images_of(found)
    table: dict[str, dict[str, Interval]] = {}
    for name, values in found.scores.items():
        table[name] = {"patch": auroc_interval(values, found.abnormal, found.patients, seed=seed)}
        for summary in SUMMARIES:
            scores = by_image(values, found.images, summary)
            table[name][summary] = auroc_interval(scores, abnormal, patients, seed=seed)
    return table
