"""Real patches drawn anew in part: a hole in one, or what lies between the pixels of a small one.

Every expected image of the sampler is brought to agree with what is known; what comes out agrees with it to the grey
level. Draw i of a patch depends on (model, patch, conditions, seed, i) alone: each is drawn by itself.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from nlbs.errors import ConfigError
from nlbs.generate.draw import Call, note_unseen, open_model
from nlbs.generate.latents import noise_latents
from nlbs.generate.png_folder import Picture, write_pictures
from nlbs.generate.real import read_real, rows_of
from nlbs.manifests.captions import caption
from nlbs.models.checkpoint import read_metadata, trained_fit
from nlbs.models.contract import Denoises, GenerativeModel, capable
from nlbs.models.drawing import to_uint8
from nlbs.models.guidance import Guidance, parsed_guidance
from nlbs.models.pixels import area_means, as_patches, require_channels, to_float, with_channels
from nlbs.models.samplers import DenoisingSampler, Onto, edited_noise
from nlbs.paths import AnyPath
from nlbs.shards import ShardSet, open_shards

Pixels = npt.NDArray[np.uint8]  #: (R, R), or (R, R, 3) in colour
Mask = npt.NDArray[np.bool_]  #: (R, R), what is to be drawn

_HOLE = 128  #: grey of what is not known, on the sheet
_TURNS = 30  #: of a bisection


@dataclass(frozen=True)
class Draws:
    """Which real patches, and what is drawn over them."""

    shards: AnyPath
    rows: tuple[int, ...]
    split: str  #: of one patch, where no rows are given
    num: int  #: draws of each patch
    steps: int  #: of the sampler
    passes: int  #: over each step


class Task:
    """What is known of a patch, and how draws agree with it."""

    kind: str  #: what file names begin with
    title: str
    words: str  #: of one draw, on the sheet

    def known(self, pixels: Pixels) -> Pixels:
        """Return what is known of a patch of the model's size."""
        raise NotImplementedError

    def shown(self, known: Pixels) -> Pixels:
        """Return that as a tile of the model's size."""
        raise NotImplementedError

    def onto(self, known: Tensor) -> Onto:
        """Return what makes images (1, C, R, R) agree with what is known, (1, C, H, W) in [-1, 1]."""
        raise NotImplementedError

    def finished(self, drawn: Tensor, known: Pixels) -> Pixels:
        """Return the grey values of a draw (1, C, R, R) in [-1, 1]."""
        raise NotImplementedError


class Inpainting(Task):
    """All pixels outside of a hole are known, and stay as they are."""

    kind, title, words = "inpainted", "Inpainting", "inpainted"

    def __init__(self, hole: Mask) -> None:
        """Take the pixels that are to be drawn, some but not all."""
        if hole.all() or not hole.any():
            which = "all" if hole.all() else "none"
            raise ConfigError(
                f"{which} of the pixels are to be drawn; expected some: see --box and --mask, in which they are white"
            )
        self.hole = hole

    def known(self, pixels: Pixels) -> Pixels:
        """Return the patch itself; what is in the hole is not looked at."""
        return np.where(self._hole_of(pixels), _HOLE, pixels).astype(np.uint8)

    def shown(self, known: Pixels) -> Pixels:
        """Return it with a grey hole."""
        return known

    def onto(self, known: Tensor) -> Onto:
        """Return what puts the known pixels in their places."""
        hole = torch.from_numpy(self.hole).to(known.device)
        return lambda image: torch.where(hole, image, known)

    def finished(self, drawn: Tensor, known: Pixels) -> Pixels:
        """Return the draw in the hole, and the known pixels around it."""
        return np.where(self._hole_of(known), to_uint8(drawn)[0], known)

    def _hole_of(self, pixels: Pixels) -> Mask:
        return self.hole if pixels.ndim == 2 else self.hole[..., None]


class SuperResolution(Task):
    """The means of blocks are known: a patch that is smaller by a whole number along an edge."""

    kind, title, words = "superresolved", "Super-resolution", "drawn"

    def __init__(self, scale: int, resolution: int) -> None:
        """Take how many times smaller the known patch is, and the edge of the model's images."""
        if resolution % scale:
            raise ConfigError(
                f"images of {resolution} x {resolution} pixels have no blocks of {scale} x {scale}; take a --scale "
                f"that divides {resolution}"
            )
        self.scale = scale

    def known(self, pixels: Pixels) -> Pixels:
        """Return the means of the patch's blocks, in whole grey levels."""
        stored = with_channels(torch.from_numpy(pixels)[None])
        found: Pixels = as_patches(area_means(stored, len(pixels) // self.scale).round().to(torch.uint8))[0]
        return found

    def shown(self, known: Pixels) -> Pixels:
        """Return the small patch with its pixels as blocks."""
        return known.repeat(self.scale, axis=0).repeat(self.scale, axis=1)

    def onto(self, known: Tensor) -> Onto:
        """Return what adds to each block what its mean lacks."""
        return lambda image: (
            image
            + functional.interpolate(
                known - functional.avg_pool2d(image, self.scale), scale_factor=float(self.scale)
            )
        )

    def finished(self, drawn: Tensor, known: Pixels) -> Pixels:
        """Return the draw within the grey scale, its blocks' means as they were to be but for rounding."""
        goal = _as_tensor(known, drawn.device)
        low, high = torch.full_like(goal, -2.0), torch.full_like(goal, 2.0)
        for _ in range(_TURNS):  # what is added to a block: its mean, once cut to [-1, 1], rises with it
            middle = (low + high) / 2
            image = (drawn + functional.interpolate(middle, scale_factor=float(self.scale))).clamp(-1, 1)
            is_dark = functional.avg_pool2d(image, self.scale) < goal
            low, high = torch.where(is_dark, middle, low), torch.where(is_dark, high, middle)
        finished: Pixels = to_uint8(image)[0]
        return finished


def hole_of(box: tuple[int, int, int, int] | None, mask: Path | None, resolution: int) -> Mask:
    """Return the pixels that are to be drawn.

    Args:
        box: left, top, right and bottom in pixels of the model's images; None: the middle half of each edge.
        mask: a picture in which they are white, in place of a box.
        resolution: R.

    Raises:
        ConfigError: the picture cannot be read, or the box lies outside.
    """
    if mask is not None:
        try:
            with Image.open(mask) as image:
                small = image.convert("L").resize((resolution, resolution), Image.Resampling.NEAREST)
                return np.asarray(small) >= 128
        except OSError as error:
            raise ConfigError(f"cannot read the mask {mask} ({error}); expected a picture") from None
    left, top, right, bottom = box or (*[resolution // 4] * 2, *[resolution - resolution // 4] * 2)
    if not (0 <= left < right <= resolution and 0 <= top < bottom <= resolution):
        raise ConfigError(
            f"the box {left},{top},{right},{bottom} lies not within 0,0,{resolution},{resolution}; expected left, top, "
            "right and bottom in pixels of the model's images"
        )
    found = np.zeros((resolution, resolution), dtype=np.bool_)
    found[top:bottom, left:right] = True
    return found


def inpaintings(call: Call, draws: Draws, box: tuple[int, int, int, int] | None, mask: Path | None) -> int:
    """Write draws of what a hole in real patches may have been; return how many."""

    def task(model: GenerativeModel) -> tuple[Task, dict[str, Any]]:
        hole = hole_of(box, mask, model.resolution)
        return Inpainting(hole), {"hole": hashlib.sha256(np.packbits(hole).tobytes()).hexdigest()[:16]}

    return _write(call, draws, task)


def superresolutions(call: Call, draws: Draws, scale: int) -> int:
    """Write draws of what small patches may show at the model's size; return how many."""
    return _write(call, draws, lambda model: (SuperResolution(scale, model.resolution), {"scale": scale}))


def _write(
    call: Call, draws: Draws, task_of: Callable[[GenerativeModel], tuple[Task, dict[str, Any]]]
) -> int:
    with open_shards(draws.shards) as shards:
        rows = rows_of(shards, draws.rows, draws.split, 1, call.seed)
        method = (
            f"{call.recipe} by {draws.steps} steps, {draws.passes} passes, guidance {call.sampler.guidance}"
        )
        source = f"those of patches of shard set {shards.dataset_id[:12]}"
        opened = open_model(call, source, f"pixels of real patches, {method}")
        capable(opened.model, Denoises, call.recipe)
        task, asked = task_of(opened.model)
        known, codes = _read(shards, rows, opened.model, trained_fit(read_metadata(call.checkpoint)), task)
        asked |= {"dataset_id": shards.dataset_id, "rows": rows.tolist(), "said": dict(call.said)}
    for name, value in call.said.items():
        codes[name][:] = torch.tensor(value)
    columns = {name: values.cpu().numpy() for name, values in codes.items()}
    note_unseen(call, columns)
    if opened.model.doubts.draws:
        click.echo(f"Note: {opened.model.doubts.draws}")
    guidance = parsed_guidance(call.sampler.guidance or "1", Guidance(), opened.model.schema)
    sampler = DenoisingSampler(opened.model, steps=draws.steps, guidance=guidance)
    pictures: list[Picture] = []
    for place, row in enumerate(rows.tolist()):
        own = {name: values[place : place + 1] for name, values in codes.items()}
        words = call.schema.words(call.schema.values_of(columns, place))
        known_tile = Picture(
            task.shown(known[place]), f"known, row {row}\n{caption(words, call.schema)}", {"file": ""}
        )
        pictures.append(known_tile)
        for number in range(draws.num):
            said = {"file": f"{task.kind}-{row:08d}-{number:03d}.png", "row": row, "draw": number, **words}
            image = drawn(sampler, task, known[place], own, call.seed, number, draws.passes)
            pictures.append(Picture(image, f"{task.words} {number}", said))
    asked |= {"draws": draws.num, "passes": draws.passes}
    write_pictures(call.out, pictures, opened.provenance, draws.num + 1, task.title, call.overwrite, **asked)
    return len(rows) * draws.num


def drawn(
    sampler: DenoisingSampler,
    task: Task,
    known: Pixels,
    conditions: Mapping[str, Tensor],
    seed: int,
    number: int,
    passes: int,
) -> Pixels:
    """Return one draw that agrees with what is known.

    Args:
        sampler: of a model that denoises.
        task: how it agrees.
        known: as the task says.
        conditions: of the patch, one row each.
        seed, number: of the noise.
        passes: over each step.
    """
    noise = noise_latents(seed, number, edited_noise(sampler.model), sampler.device)
    with torch.no_grad():
        image = sampler.edited(noise, conditions, task.onto(_as_tensor(known, sampler.device)), passes)
        return task.finished(image, known)


def _read(
    shards: ShardSet, rows: npt.NDArray[np.int64], model: GenerativeModel, fit: str, task: Task
) -> tuple[list[Pixels], dict[str, Tensor]]:
    """Return what is known of rows, and their codes; patches that are small already are known as they are."""
    small = model.resolution // task.scale if isinstance(task, SuperResolution) else 0
    require_channels(shards.channels, model.image.channels, shards.folder)
    if shards.resolution == small:
        codes = {
            name: torch.from_numpy(values).to(model.device)
            for name, values in shards.conditions(rows, model.schema).items()
        }
        return list(to_uint8(to_float(with_channels(torch.from_numpy(shards.read(rows)))))), codes
    pixels, codes = read_real(shards, rows, model, model.device, fit)
    return [task.known(patch) for patch in to_uint8(pixels)], codes


def _as_tensor(pixels: Pixels, device: torch.device) -> Tensor:
    return to_float(with_channels(torch.from_numpy(pixels)[None])).to(device)
