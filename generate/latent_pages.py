"""Pages of reconstructions, interpolations, traversals and variations: what each command shows, in which order."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nlbs.generate.draw import Call, Opened, note_unseen, open_model
from nlbs.generate.latents import (
    Conditions,
    Decode,
    Latents,
    codes_tensor,
    interpolate,
    noise_latents,
    reconstruct,
    traverse,
    vary,
)
from nlbs.generate.png_folder import Picture, write_pictures
from nlbs.generate.real import read_real, rows_of
from nlbs.generate.words import caption, in_words
from nlbs.models.checkpoint import read_metadata, trained_fit
from nlbs.models.contract import encoding
from nlbs.models.drawing import to_uint8
from nlbs.paths import AnyPath
from nlbs.shards import open_shards

_TILES = 8  # in a row of a page of pairs
_WALK = "a way through latents of real patches"


def reconstructions(call: Call, folder: AnyPath, rows: Sequence[int], split: str, num: int) -> int:
    """Write real patches beside what the model makes of them; return how many."""
    pixels, codes, chosen, opened, about = _real(call, folder, rows, split, num)
    rebuilt = to_uint8(reconstruct(opened.model, pixels, codes))
    pictures: list[Picture] = []
    for start in range(0, len(chosen), _TILES):
        some = range(start, min(start + _TILES, len(chosen)))
        pictures += [_real_tile(pixels[i : i + 1], int(chosen[i]), _codes(codes, i)) for i in some]
        # A short row is filled, so that each reconstruction stands below its patch.
        gap = [_blank(opened)] * (min(_TILES, len(chosen)) - len(some))
        pictures += gap
        for i in some:
            real = to_uint8(pixels[i : i + 1])[0]
            error = float(np.abs(real.astype(np.float64) - rebuilt[i]).mean())
            said = {
                "file": f"reconstruction-{int(chosen[i]):08d}.png",
                "row": int(chosen[i]),
                **in_words(_codes(codes, i)),
                "mean_absolute_error": round(error, 4),
            }
            pictures.append(Picture(rebuilt[i], f"reconstructed\nerror {error:.1f} of 255", said))
        pictures += gap
    return _write(call, opened, pictures, min(_TILES, len(chosen)), "Reconstructions", about)


def interpolation(
    call: Call,
    ends: tuple[Mapping[str, int], Mapping[str, int]] | None,
    flags: Mapping[str, int],
    to_seed: int | None,
    folder: AnyPath | None,
    rows: Sequence[int],
    steps: int,
) -> int:
    """Write the patches between two ends; return how many.

    Args:
        call: its seed is the first latent, where no rows are given.
        ends: codes of both ends; None: ``flags`` for both, or those of the rows.
        flags: codes.
        to_seed: the second latent; None: the first.
        folder, rows: a shard set and one or two rows of it.
        steps: patches, the ends among them.
    """
    asked: dict[str, Any] = {"ends": ends, "flags": dict(flags), "to_seed": to_seed, "steps": steps}
    tiles: list[Picture] = []
    if folder is None:
        opened = open_model(call, "given by flags")
        sampler = call.sampler.open(opened.model, call.checkpoint)
        decode: Decode = sampler.draw
        networks: Sequence[nn.Module] = sampler.networks
        start, end = (
            _noise(call, opened, flags),
            _noise(call, opened, flags, call.seed if to_seed is None else to_seed),
        )
    else:
        pixels, codes, chosen, opened, about = _real(call, folder, rows, None, 1)
        asked |= about
        decode, networks = _render(opened), [opened.model]
        start, end = _inferred(opened, pixels, codes, 0), _inferred(opened, pixels, codes, len(chosen) - 1)
        tiles = [_real_tile(pixels[i : i + 1], int(chosen[i]), _codes(codes, i)) for i in range(len(chosen))]
    if ends is not None:
        start, end = (
            (side[0], codes_tensor(said, opened.device))
            for side, said in zip((start, end), ends, strict=True)
        )
    of_both = [_codes(side[1], 0) for side in (start, end)]
    note_unseen(call.checkpoint, {name: [codes[name] for codes in of_both] for name in of_both[0]})
    shown = to_uint8(interpolate(networks, decode, start, end, steps))
    first, last = map(in_words, of_both)
    for step, image in enumerate(shown):
        t = step / (steps - 1)
        said = {"file": f"interpolation-{step:03d}.png", "t": round(t, 6)}
        said |= {f"from_{name}": word for name, word in first.items()} | {
            f"to_{name}": w for name, w in last.items()
        }
        words = caption(first) if step == 0 else caption(last) if step == steps - 1 else ""
        tiles.append(Picture(image, f"t = {t:.2f}\n{words}", said))
    tiles = [*tiles[:1], *tiles[2:], tiles[1]] if len(rows) == 2 else tiles  # the second real one last
    return _write(call, opened, tiles, len(tiles) if len(tiles) <= 12 else _TILES, "Interpolation", asked)


def traversal(
    call: Call,
    flags: Mapping[str, int],
    folder: AnyPath | None,
    rows: Sequence[int],
    level: int,
    dimensions: Sequence[int],
    reach: float,
    steps: int,
) -> int:
    """Write a row of patches for each number of the latent that is moved; return how many patches."""
    asked: dict[str, Any] = {"flags": dict(flags), "level": level, "reach": reach, "steps": steps}
    asked |= {"dimensions": list(dimensions)}
    if folder is None:
        opened = open_model(call, "given by flags")
        decode: Decode = call.sampler.open(opened.model, call.checkpoint).draw
        latents, codes = _noise(call, opened, flags)
        note_unseen(call.checkpoint, _codes(codes, 0))
    else:
        pixels, all_codes, _, opened, about = _real(call, folder, rows, None, 1)
        asked |= about
        decode = _render(opened)
        latents, codes = _inferred(opened, pixels, all_codes, 0)
    of_model = len(opened.model.drawing_noise)
    latents, beside = latents[:of_model], latents[of_model:]  # the noise of grain is no latent

    def decode_these(moved: Latents, conditions: Conditions) -> Tensor:
        return decode([*moved, *beside], conditions)

    values = np.linspace(-reach, reach, steps).tolist()
    pictures = []
    for dimension in dimensions:
        shown = to_uint8(traverse(decode_these, latents, codes, level, dimension, values))
        for step, (value, image) in enumerate(zip(values, shown, strict=True)):
            said = {
                "file": f"traversal-{level}-{dimension:05d}-{step:03d}.png",
                "level": level,
                "dimension": dimension,
                "value": round(value, 6),
                **in_words(_codes(codes, 0)),
            }
            pictures.append(Picture(image, f"z[{level}][{dimension}] = {value:.2f}", said))
    return _write(call, opened, pictures, steps, "Traversal of the latent", asked)


def variations(
    call: Call, folder: AnyPath, rows: Sequence[int], split: str, num: int, strength: float
) -> int:
    """Write variations of real patches, a row for each; return how many."""
    pixels, codes, chosen, opened, about = _real(call, folder, rows, split, 1)
    pictures = []
    for place, row in enumerate(chosen.tolist()):
        latents, own = _inferred(opened, pixels, codes, place)
        pictures.append(_real_tile(pixels[place : place + 1], row, _codes(own, 0)))
        shown = to_uint8(vary(_render(opened), latents, own, num, strength, call.seed))
        for number, image in enumerate(shown):
            said = {"file": f"variation-{row:08d}-{number:03d}.png", "row": row, "strength": strength}
            said |= in_words(_codes(own, 0))
            pictures.append(Picture(image, f"variation {number}", said))
    title = f"Variations, noise of {strength:g}"
    return _write(call, opened, pictures, num + 1, title, {**about, "num": num, "strength": strength})


def _real(
    call: Call, folder: AnyPath, rows: Sequence[int], split: str | None, num: int
) -> tuple[Tensor, dict[str, Tensor], npt.NDArray[np.int64], Opened, dict[str, Any]]:
    """Return pixels, codes and rows of real patches, the model, and what of this the pictures depend on."""
    with open_shards(folder) as shards:
        chosen = rows_of(shards, rows, split, num, call.seed)
        opened = open_model(
            call, f"those of patches of shard set {shards.dataset_id[:12]}", "latents of real patches"
        )
        fit = trained_fit(read_metadata(call.checkpoint))
        pixels, codes = read_real(shards, chosen, opened.model, opened.device, fit)
        about = {"dataset_id": shards.dataset_id, "rows": chosen.tolist()}
        if fit != "downsample" and shards.resolution > opened.model.resolution:
            about["fit"] = fit  # pages that averaged these are others
    return pixels, codes, chosen, opened, about


def _inferred(
    opened: Opened, pixels: Tensor, codes: Mapping[str, Tensor], place: int
) -> tuple[Latents, Conditions]:
    own = {name: values[place : place + 1] for name, values in codes.items()}
    with torch.no_grad():
        return encoding(opened.model, _WALK).infer(pixels[place : place + 1], own), own


def _render(opened: Opened) -> Decode:
    return encoding(opened.model, _WALK).render


def _noise(
    call: Call, opened: Opened, codes: Mapping[str, int], seed: int | None = None
) -> tuple[Latents, Conditions]:
    """Return the noise of patch 0 of a seed: the patch that nlbs-generate draws first with it."""
    shapes = call.sampler.open(opened.model, call.checkpoint).noise_shapes
    noise = noise_latents(call.seed if seed is None else seed, 0, shapes, opened.device)
    return noise, codes_tensor(codes, opened.device)


def _codes(codes: Mapping[str, Tensor], place: int) -> dict[str, int]:
    return {name: int(values[place]) for name, values in codes.items()}


def _real_tile(pixels: Tensor, row: int, codes: Mapping[str, int]) -> Picture:
    return Picture(to_uint8(pixels)[0], f"real, row {row}\n{caption(in_words(codes))}", {"file": ""})


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
