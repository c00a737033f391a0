"""Pages of reconstructions, interpolations, traversals and variations: what each command shows, in which order."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nlbs.errors import ConfigError
from nlbs.generate.draw import Call, Opened, note_unseen, open_model
from nlbs.generate.latents import (
    Conditions,
    Decode,
    Latents,
    interpolate,
    noise_latents,
    one_row,
    reconstruct,
    traverse,
    vary,
)
from nlbs.generate.png_folder import Picture, columns_of, write_pictures
from nlbs.generate.real import read_real, rows_of
from nlbs.manifests.asked import every_condition
from nlbs.manifests.captions import caption
from nlbs.manifests.schema import Schema, Value
from nlbs.models.checkpoint import read_metadata, trained_fit
from nlbs.models.contract import Clusters, Encodes, Uncertain, capable
from nlbs.models.drawing import to_uint8, uncertainty_tiles
from nlbs.paths import AnyPath
from nlbs.shards import open_shards

_TILES = 8  # in a row of a page of pairs
_WALK = "a way through latents of real patches"


def reconstructions(call: Call, folder: AnyPath, rows: Sequence[int], split: str, num: int) -> int:
    """Write real patches beside what the model makes of them; return how many."""
    pixels, conditions, chosen, opened, about = _real(call, folder, rows, split, num)
    rebuilt = to_uint8(reconstruct(opened.model, pixels, conditions))
    groups: list[int] = []
    if isinstance(opened.model, Clusters):
        with torch.no_grad():
            groups = opened.model.responsibilities(pixels, conditions).argmax(dim=1).tolist()
    words = [_words(call.schema, conditions, place) for place in range(len(chosen))]
    unsure = _uncertainties(opened, pixels, conditions)
    pictures: list[Picture] = []
    for start in range(0, len(chosen), _TILES):
        some = range(start, min(start + _TILES, len(chosen)))
        # A short row is filled, so that each reconstruction stands below its patch.
        gap = [_blank(opened)] * (min(_TILES, len(chosen)) - len(some))
        pictures += [_real_tile(call, pixels[i : i + 1], int(chosen[i]), words[i]) for i in some] + gap
        for i in some:
            real = to_uint8(pixels[i : i + 1])[0]
            error = float(np.abs(real.astype(np.float64) - rebuilt[i]).mean())
            said = {
                "file": f"reconstruction-{int(chosen[i]):08d}.png",
                "row": int(chosen[i]),
                **columns_of(words[i]),
                "mean_absolute_error": round(error, 4),
            }
            below = f"reconstructed\nerror {error:.1f} of 255"
            if groups:
                said["component"] = groups[i]
                below += f", component {groups[i]}"
            pictures.append(Picture(rebuilt[i], below, said))
        pictures += [*gap, *(unsure[i] for i in some if unsure), *(gap if unsure else ())]
    return _write(call, opened, pictures, min(_TILES, len(chosen)), "Reconstructions", about)


def _uncertainties(opened: Opened, pixels: Tensor, conditions: Conditions) -> list[Picture]:
    """Return a tile of each patch with the error that the model expects of each pixel; none where it says none."""
    if not isinstance(opened.model, Uncertain):
        return []
    with torch.no_grad():
        tiles, words = uncertainty_tiles(opened.model.uncertainty(pixels, conditions))
    return [Picture(tile, words, {"file": ""}) for tile in to_uint8(tiles)]


def interpolation(
    call: Call,
    ends: tuple[Mapping[str, Value], Mapping[str, Value]] | None,
    to_seed: int | None,
    folder: AnyPath | None,
    rows: Sequence[int],
    steps: int,
) -> int:
    """Write the patches between two ends; return how many.

    Args:
        call: its seed is the first latent, and what it says are the conditions of both ends, where no rows are given.
        ends: what is said of the conditions of both ends; None: those of the call, or of the rows.
        to_seed: the second latent; None: the first.
        folder, rows: a shard set and one or two rows of it.
        steps: patches, the ends among them.
    """
    asked: dict[str, Any] = {"flags": _plain(call.schema, call.said), "to_seed": to_seed, "steps": steps}
    asked["ends"] = [_plain(call.schema, end) for end in ends] if ends else None
    tiles: list[Picture] = []
    if to_seed is not None and call.sampler.sampler == "sde":
        raise ConfigError(
            "the sampler sde makes the noise of its steps from a number, and between those of two seeds lies nothing: "
            "take --sampler dpm or ode, or two conditions in place of --to-seed"
        )
    if folder is None:
        opened = open_model(call, "given by flags")
        sampler = call.sampler.open(opened.model, call.checkpoint)
        decode: Decode = sampler.draw
        networks: Sequence[nn.Module] = sampler.networks
        start, end = (_noise(call, opened, call.seed if s is None else s) for s in (None, to_seed))
    else:
        pixels, conditions, chosen, opened, about = _real(call, folder, rows, None, 1)
        asked |= about
        decode, networks = _render(opened), [opened.model]
        start, end = (_inferred(opened, pixels, conditions, place) for place in (0, len(chosen) - 1))
        words = [_words(call.schema, conditions, place) for place in range(len(chosen))]
        tiles = [_real_tile(call, pixels[i : i + 1], int(chosen[i]), words[i]) for i in range(len(chosen))]
    if ends is not None:
        start, end = (
            (side[0], one_row(said, call.schema, opened.device))
            for side, said in zip((start, end), ends, strict=True)
        )
    of_both = {name: torch.cat([start[1][name], end[1][name]]) for name in call.schema.names}
    note_unseen(call, {name: rows.cpu().numpy() for name, rows in of_both.items()})
    shown = to_uint8(interpolate(networks, decode, start, end, steps))
    first, last = (_words(call.schema, of_both, place) for place in (0, 1))
    for step, image in enumerate(shown):
        t = step / (steps - 1)
        said = {"file": f"interpolation-{step:03d}.png", "t": round(t, 6)}
        said |= columns_of(first, "from_") | columns_of(last, "to_")
        at_end = {0: first, steps - 1: last}.get(step)
        words_below = caption(at_end, call.schema) if at_end else ""
        tiles.append(Picture(image, f"t = {t:.2f}\n{words_below}", said))
    tiles = [*tiles[:1], *tiles[2:], tiles[1]] if len(rows) == 2 else tiles  # the second real one last
    return _write(call, opened, tiles, len(tiles) if len(tiles) <= 12 else _TILES, "Interpolation", asked)


def traversal(
    call: Call,
    folder: AnyPath | None,
    rows: Sequence[int],
    level: int,
    dimensions: Sequence[int],
    reach: float,
    steps: int,
) -> int:
    """Write a row of patches for each number of the latent that is moved; return how many patches."""
    asked: dict[str, Any] = {"flags": _plain(call.schema, call.said), "level": level, "reach": reach}
    asked |= {"steps": steps, "dimensions": list(dimensions)}
    if folder is None:
        opened = open_model(call, "given by flags")
        decode: Decode = call.sampler.open(opened.model, call.checkpoint).draw
        latents, conditions = _noise(call, opened, call.seed)
        note_unseen(call, {name: row.cpu().numpy() for name, row in conditions.items()})
    else:
        pixels, of_all, _, opened, about = _real(call, folder, rows, None, 1)
        asked |= about
        decode = _render(opened)
        latents, conditions = _inferred(opened, pixels, of_all, 0)
    of_model = len(opened.model.drawing_noise)
    latents, beside = latents[:of_model], latents[of_model:]  # the noise of grain is no latent

    def decode_these(moved: Latents, conditions: Conditions) -> Tensor:
        return decode([*moved, *beside], conditions)

    values = np.linspace(-reach, reach, steps).tolist()
    words = columns_of(_words(call.schema, conditions, 0))
    pictures = []
    for dimension in dimensions:
        shown = to_uint8(traverse(decode_these, latents, conditions, level, dimension, values))
        for step, (value, image) in enumerate(zip(values, shown, strict=True)):
            said = {
                "file": f"traversal-{level}-{dimension:05d}-{step:03d}.png",
                "level": level,
                "dimension": dimension,
                "value": round(value, 6),
                **words,
            }
            pictures.append(Picture(image, f"z[{level}][{dimension}] = {value:.2f}", said))
    return _write(call, opened, pictures, steps, "Traversal of the latent", asked)


def variations(
    call: Call, folder: AnyPath, rows: Sequence[int], split: str, num: int, strength: float
) -> int:
    """Write variations of real patches, a row for each; return how many."""
    pixels, conditions, chosen, opened, about = _real(call, folder, rows, split, 1)
    pictures = []
    for place, row in enumerate(chosen.tolist()):
        latents, own = _inferred(opened, pixels, conditions, place)
        words = _words(call.schema, own, 0)
        pictures.append(_real_tile(call, pixels[place : place + 1], row, words))
        shown = to_uint8(vary(_render(opened), latents, own, num, strength, call.seed))
        for number, image in enumerate(shown):
            said = {"file": f"variation-{row:08d}-{number:03d}.png", "row": row, "strength": strength}
            said |= columns_of(words)
            pictures.append(Picture(image, f"variation {number}", said))
    title = f"Variations, noise of {strength:g}"
    return _write(call, opened, pictures, num + 1, title, {**about, "num": num, "strength": strength})


def _real(
    call: Call, folder: AnyPath, rows: Sequence[int], split: str | None, num: int
) -> tuple[Tensor, dict[str, Tensor], npt.NDArray[np.int64], Opened, dict[str, Any]]:
    """Return pixels, conditions and rows of real patches, the model, and what of this the pictures depend on."""
    with open_shards(folder) as shards:
        chosen = rows_of(shards, rows, split, num, call.seed)
        opened = open_model(
            call, f"those of patches of shard set {shards.dataset_id[:12]}", "latents of real patches"
        )
        fit = trained_fit(read_metadata(call.checkpoint))
        pixels, conditions = read_real(shards, chosen, opened.model, opened.device, fit)
        about = {"dataset_id": shards.dataset_id, "rows": chosen.tolist()}
        if fit != "downsample" and shards.resolution > opened.model.resolution:
            about["fit"] = fit  # pages that averaged these are others
    return pixels, conditions, chosen, opened, about


def _inferred(
    opened: Opened, pixels: Tensor, conditions: Conditions, place: int
) -> tuple[Latents, Conditions]:
    own = {name: values[place : place + 1] for name, values in conditions.items()}
    with torch.no_grad():
        return capable(opened.model, Encodes, _WALK).infer(pixels[place : place + 1], own), own


def _render(opened: Opened) -> Decode:
    return capable(opened.model, Encodes, _WALK).render


def _noise(call: Call, opened: Opened, seed: int) -> tuple[Latents, Conditions]:
    """Return the noise of patch 0 of a seed: the patch that nlbs-generate draws first with it."""
    shapes = call.sampler.open(opened.model, call.checkpoint).noise_shapes
    noise = noise_latents(seed, 0, shapes, opened.device)
    return noise, one_row(call.said, call.schema, opened.device)


def _words(schema: Schema, conditions: Conditions, place: int) -> dict[str, str]:
    rows = {name: values.cpu().numpy() for name, values in conditions.items()}
    return schema.words(schema.values_of(rows, place))


def _plain(schema: Schema, said: Mapping[str, Value]) -> dict[str, int | str]:
    """Return conditions as JSON values: codes, and words of what has none."""
    values = every_condition(said, schema).items()
    return {name: value if isinstance(value, int) else schema[name].word(value) for name, value in values}


def _real_tile(call: Call, pixels: Tensor, row: int, words: Mapping[str, str]) -> Picture:
    return Picture(to_uint8(pixels)[0], f"real, row {row}\n{caption(words, call.schema)}", {"file": ""})


def _blank(opened: Opened) -> Picture:
    edge = opened.model.resolution
    return Picture(np.full((edge, edge), 32, dtype=np.uint8), "", {"file": ""})


def _write(
    call: Call,
    opened: Opened,
    pictures: Sequence[Picture],
    columns: int,
    title: str,
    asked: Mapping[str, Any],
) -> int:
    write_pictures(call.out, pictures, opened.provenance, columns, title, call.overwrite, **asked)
    return sum(bool(picture.said["file"]) for picture in pictures)
