"""The section of pictures: real, reconstructed and drawn patches, for each value of each condition."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from nlbs.evaluate.real_patches import RealPatches, Rows, subsample
from nlbs.evaluate.report import Picture, Section, picture
from nlbs.evaluate.study import Study
from nlbs.manifests.schema import Condition
from nlbs.models.contract import lacks
from nlbs.models.drawing import Codes
from nlbs.pictures import contact_sheet

SHOWN = 8  #: patches in a row of a gallery
MOST_VALUES = 24  #: of one condition
_PARTS = 3  #: of the range of a number
TILE_PX = 96


def galleries(study: Study) -> Section:
    """Return real, reconstructed and drawn patches side by side, for each value of each condition."""
    section = Section("galleries", "Real, reconstructed, drawn", [
        "In each picture: above, held-out real patches; in the middle, their reconstructions; below, patches drawn by "
        "the same conditions. Chosen at random."
    ])  # fmt: skip
    if not study.rebuilds:
        section.attention.append(
            f"There are no reconstructions in the middle: {lacks(study.model, 'rebuild images')}."
        )
    for condition in study.model.schema:
        groups = groups_of(condition, study.held_out, study.seed)
        if len(groups) > MOST_VALUES:
            section.lead.append(
                f"Of {condition.label} the first {MOST_VALUES} of {len(groups)} values are shown."
            )
        pictures = [_of_value(study, words, places) for words, places in groups[:MOST_VALUES]]
        if pictures:
            section.pictures.append((condition.label, pictures))
    section.figures = {"groups": sum(len(group) for _, group in section.pictures)}
    return section


def groups_of(condition: Condition, patches: RealPatches, seed: int) -> list[tuple[str, Rows]]:
    """Return for each value that occurs its words, "view CC", and which patches are shown of it."""
    found = []
    for word, has in values_of(condition, patches.conditions):
        places = np.flatnonzero(has)
        if len(places):
            chosen = places[subsample(patches.patients[places], SHOWN, seed)]
            found.append((f"{condition.label} {word}", chosen))
    return found


def values_of(condition: Condition, columns: Codes) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Yield the values of a condition in words, and which of n patches have each, (n,).

    Of labels each, and none of them; of numbers the thirds of their range.
    """
    values = columns[condition.name]
    if condition.is_coded:
        yield from ((word, values == code) for code, word in enumerate(condition.values))
    elif condition.kind == "multilabel":
        yield from ((word, values[:, place] == 1) for place, word in enumerate(condition.values))
        yield condition.word(np.zeros(len(condition.values))), (values == 0).all(axis=1)
    else:
        edges = np.linspace(condition.low, condition.high, _PARTS + 1)
        for place, word in enumerate(condition.values):
            part = np.clip(np.searchsorted(edges, values[:, place], side="right") - 1, 0, _PARTS - 1)
            part[np.isnan(values[:, place])] = -1
            yield from ((f"{word} {edges[i]:.3g} to {edges[i + 1]:.3g}", part == i) for i in range(_PARTS))


def _of_value(study: Study, words: str, places: Rows) -> Picture:
    rebuilt = [study.encoded.reconstructed] if study.rebuilds else []
    rows = (study.held_out.pixels, *rebuilt, study.drawn)
    images = [image for row in rows for image in row[places]]
    sheet = contact_sheet(images, [""] * len(images), columns=len(places), tile_px=TILE_PX)
    return picture(sheet, f"{words}: {'real, reconstructed, drawn' if study.rebuilds else 'real, drawn'}")
