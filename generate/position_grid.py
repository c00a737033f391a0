"""The patches of a breast by place: drawn at the places of a real one, and how well neighbours agree."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nlbs.errors import ConfigError
from nlbs.generate.distribution import Distribution
from nlbs.generate.draw import Call, note_unseen, open_model
from nlbs.generate.latents import reconstruct
from nlbs.generate.plan import uniform
from nlbs.generate.png_folder import Picture, columns_of, write_pictures
from nlbs.generate.real import read_real
from nlbs.generate.seams import Grey, Numbers, Places, nearest_of_others, neighbours, places_of, seam_errors
from nlbs.manifests.schema import POSITION
from nlbs.models.checkpoint import read_metadata, trained_fit
from nlbs.models.contract import Reconstructs
from nlbs.models.drawing import Codes, Sampler, draw_patches, to_uint8
from nlbs.paths import AnyPath
from nlbs.shards import open_shards

_NONE = 32  #: grey of a place without a patch
_OTHERS = 4000  #: patches at most that one of another breast is looked for among


def position_grid(call: Call, folder: AnyPath, where: str | None, num: int) -> dict[str, float | None]:
    """Write the patches of breasts, each breast drawn from one noise; return the errors of seams by what they are of.

    Args:
        call: what it says of conditions is so for all patches.
        folder: a shard set, of whose training images places and all other conditions are taken.
        where: a filter of its patches.
        num: breasts.

    Raises:
        ConfigError: the model has no condition ``position``, or there is no such patch.
    """
    if POSITION not in call.schema:
        raise ConfigError(
            f"the model has no condition {POSITION.name}, and cannot draw patches by place; train one with it: "
            f"nlbs-train --conditions ...,{POSITION.name}"
        )
    with open_shards(folder) as shards:
        every = Distribution(shards, call.schema, where)
        opened = open_model(call, f"of the places of breasts, {every.source}")
        fit = trained_fit(read_metadata(call.checkpoint))
        ratio = opened.model.resolution / shards.resolution if fit == "downsample" else 1.0
        places = places_of(shards.manifest, ratio)
        rows, breast = breasts_of(places.image, every.rows, num, call.seed)
        pool = every.rows[np.argsort(uniform("others", call.seed, len(every.rows)), kind="stable")[:_OTHERS]]
        where_in = [shards.conditions(some, call.schema)[POSITION.name] for some in (rows, pool)]
        others = pool[nearest_of_others(where_in[0], places.image[rows], where_in[1], places.image[pool])]
        pixels, codes = read_real(shards, rows, opened.model, opened.device, fit)
        elsewhere, _ = read_real(shards, others, opened.model, opened.device, fit)
        about = {"dataset_id": shards.dataset_id, "rows": rows.tolist()}
    real = to_uint8(pixels)
    shown = {"real_neighbours": (real, real), "real_other_breasts": (real, to_uint8(elsewhere))}
    if isinstance(opened.model, Reconstructs):
        rebuilt = to_uint8(reconstruct(opened.model, pixels, codes))
        shown["reconstructed"] = (rebuilt, rebuilt)
    for name, value in call.said.items():
        codes[name][:] = torch.tensor(value)
    values = {name: column.cpu().numpy() for name, column in codes.items()}
    note_unseen(call, values)
    sampler, here = call.sampler.open(opened.model, call.checkpoint), places.at(rows)
    drawn, again = drawn_by_place(sampler, values, breast, call.seed)
    shown |= {"drawn": (drawn, drawn), "drawn_other_noise": (drawn, again)}
    pairs = neighbours(here, opened.model.resolution)
    seams = {
        name: round(float(seam_errors(*both, pairs).mean()), 3) if len(pairs.first) else None
        for name, both in shown.items()
    }
    words = [call.schema.words(call.schema.values_of(values, place)) for place in range(len(rows))]
    pictures, columns = _montage(drawn, here, rows, breast, words)
    about |= {
        "seams": seams,
        "pairs": len(pairs.first),
        "said": {name: str(v) for name, v in call.said.items()},
    }
    write_pictures(
        call.out, pictures, opened.provenance, columns, "Patches by place", call.overwrite, **about
    )
    return seams


def breasts_of(image: Numbers, among: npt.ArrayLike, num: int, seed: int) -> tuple[Numbers, Numbers]:
    """Return all patches of some images at random, image by image, and the number of each one's breast, from 0."""
    images = np.unique(image[np.asarray(among)])
    chosen = images[np.argsort(uniform("breasts", seed, len(images)), kind="stable")[:num]]
    rows = [np.flatnonzero(image == one) for one in chosen]
    return np.concatenate(rows), np.repeat(np.arange(len(rows)), list(map(len, rows)))


def drawn_by_place(sampler: Sampler, values: Codes, breast: Numbers, seed: int) -> list[Grey]:
    """Return patches (n, R, R), those of one breast from one noise, and the same from another noise for each breast.

    Args:
        sampler: of a trained model.
        values: conditions of the patches.
        breast: (n,) number of each one's breast.
        seed: of the noise.
    """
    return [
        np.stack(list(draw_patches(sampler, values, seed, numbers=2 * breast + other))) for other in (0, 1)
    ]


def _montage(
    drawn: Grey, places: Places, rows: Numbers, breast: Numbers, words: Sequence[Mapping[str, str]]
) -> tuple[list[Picture], int]:
    """Return the tiles of a sheet, breast by breast, each patch in its place, and the number of columns."""
    grids = []
    for number in range(breast.max() + 1):
        own = np.flatnonzero(breast == number)
        across, column = np.unique(places.x[own], return_inverse=True)
        down, line = np.unique(places.y[own], return_inverse=True)
        grid = np.full((len(down), len(across)), -1)
        grid[line, column] = own
        grids.append(grid)
    columns = max(grid.shape[1] for grid in grids)
    blank = Picture(np.full(drawn.shape[1:], _NONE, dtype=np.uint8), "", {"file": ""})
    pictures = []
    for place in np.concatenate([_widened(grid, columns) for grid in grids]).flatten().tolist():
        if place < 0:
            pictures.append(blank)
            continue
        said = {
            "file": f"synthetic-{rows[place]:08d}.png",
            "breast": int(breast[place]),
            **columns_of(words[place]),
        }
        pictures.append(Picture(drawn[place], words[place][POSITION.name], said))
    return pictures, columns


def _widened(grid: npt.NDArray[Any], columns: int) -> npt.NDArray[Any]:
    return np.pad(grid, ((0, 0), (0, columns - grid.shape[1])), constant_values=-1)
