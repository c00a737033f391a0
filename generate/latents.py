"""What lies between and around latents: reconstructions, interpolations, traversals, variations.

``decode`` is what turns latents into patches: ``model.render`` for those of real patches, as ``model.infer`` gives
them, and the ``draw`` of a sampler for normal noise. Patches go through it one at a time, so that none depends on
how many are asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nlbs.errors import ConfigError
from nlbs.manifests.conditions import UNKNOWN
from nlbs.manifests.schema import Schema, Value
from nlbs.models.conditioning import ConditionEncoder
from nlbs.models.contract import GenerativeModel, Reconstructs, capable
from nlbs.models.drawing import draw_noise

Latents = Sequence[Tensor]  #: of one patch: (1, *shape) for each of ``model.latent_shapes``
Conditions = Mapping[str, Tensor]  #: of one patch, a row each as nlbs.manifests.schema says
Decode = Callable[[Latents, Conditions], Tensor]

_NEARLY_PARALLEL = 1e-4  # radians


def reconstruct(model: GenerativeModel, pixels: Tensor, conditions: Conditions) -> Tensor:
    """Return what the model makes of patches, (B, 1, R, R) in [-1, 1], with its skips where it has them.

    Args:
        model: in eval mode: the latent is the mean of q(z | x, c).
        pixels: (B, 1, R, R) in [-1, 1].
        conditions: of these patches.

    Raises:
        ConfigError: the model does not reconstruct.
    """
    rebuilding = capable(model, Reconstructs, "a page of reconstructions")
    with torch.no_grad():
        return torch.cat(
            [
                rebuilding.reconstruct(pixels[i : i + 1], _of(conditions, i)).clamp(-1, 1)
                for i in range(len(pixels))
            ]
        )


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Return the spherical interpolation of latents, ``a`` at t = 0 and ``b`` at t = 1, to the bit.

    sin((1 - t) w) / sin w a + sin(t w) / sin w b, where w is the angle between them (Shoemake 1985): between two
    draws of N(0, I) it keeps their length, which a straight line does not. Where they are parallel or opposite, the
    straight line is taken.

    Args:
        a, b: (1, *shape), the angle is between them as one vector.
        t: 0 to 1.
    """
    if t in (0, 1):
        return b if t else a
    one, other = a.flatten().double(), b.flatten().double()
    cosine = torch.dot(one, other) / (one.norm() * other.norm()).clamp(min=1e-12)
    angle = torch.arccos(cosine.clamp(-1, 1))
    if torch.minimum(angle, torch.pi - angle) < _NEARLY_PARALLEL:
        return torch.lerp(a, b, t)
    between = (torch.sin((1 - t) * angle) * one + torch.sin(t * angle) * other) / torch.sin(angle)
    return between.to(a.dtype).reshape(a.shape)


def interpolate(
    networks: Sequence[nn.Module],
    decode: Decode,
    start: tuple[Latents, Conditions],
    end: tuple[Latents, Conditions],
    steps: int,
) -> Tensor:
    """Return patches on the way from one latent and condition to another, (steps, 1, R, R) in [-1, 1].

    Latents are interpolated on the sphere, level by level; conditions along a straight line between their
    embeddings. The first and the last patch are those of the ends themselves.

    Args:
        networks: that ``decode`` asks: the model, and a flow beside it. Each has condition encoders of its own.
        decode: what turns latents into patches.
        start, end: latents and conditions.
        steps: patches, the ends among them, 2 or more.
    """
    (from_latents, from_rows), (to_latents, to_rows) = start, end
    shown = []
    with torch.no_grad():
        for step in range(steps):
            t = step / (steps - 1)
            latents = [slerp(a, b, t) for a, b in zip(from_latents, to_latents, strict=True)]
            if _unknown(from_rows) > _unknown(to_rows):
                # What a guided sampler hides looks like what is unknown: move the end that says more.
                here, there, share = to_rows, from_rows, 1 - t
            else:
                here, there, share = from_rows, to_rows, t
            if share == 1:
                shown.append(decode(latents, there))
                continue
            with _embedding_between(networks, here, there, share):
                shown.append(decode(latents, here))
    return torch.cat(shown)


def traverse(
    decode: Decode,
    latents: Latents,
    conditions: Conditions,
    level: int,
    dimension: int,
    values: Sequence[float],
) -> Tensor:
    """Return patches that differ in one number of the latent, (values, 1, R, R) in [-1, 1].

    Args:
        decode: what turns latents into patches.
        latents, conditions: of one patch.
        level: which of its latents, the coarsest first.
        dimension: which number of it, counted row by row.
        values: what that number becomes.

    Raises:
        ConfigError: there is no such level or dimension.
    """
    if not 0 <= level < len(latents):
        raise ConfigError(f"there is no level {level} of the latent: this model has 0 to {len(latents) - 1}")
    size = latents[level].numel()
    if not 0 <= dimension < size:
        raise ConfigError(f"level {level} of the latent has no dimension {dimension}: it has 0 to {size - 1}")
    shown = []
    with torch.no_grad():
        for value in values:
            moved = [latent.clone(memory_format=torch.contiguous_format) for latent in latents]
            moved[level].view(-1)[dimension] = value
            shown.append(decode(moved, conditions))
    return torch.cat(shown)


def vary(
    decode: Decode, latents: Latents, conditions: Conditions, num: int, strength: float, seed: int
) -> Tensor:
    """Return patches around a latent, (num, 1, R, R) in [-1, 1]: z + strength * epsilon, epsilon from N(0, I).

    Variation i depends on (latents, strength, seed, i) alone.

    Args:
        decode: what turns latents into patches.
        latents, conditions: of one patch.
        num: how many.
        strength: standard deviation of what is added, in the latent's own units.
        seed: draws other noise.
    """
    shapes = [tuple(latent.shape[1:]) for latent in latents]
    shown = []
    with torch.no_grad():
        for index in range(num):
            noise = noise_latents(seed, index, shapes, latents[0].device)
            shown.append(
                decode(
                    [z + strength * epsilon for z, epsilon in zip(latents, noise, strict=True)], conditions
                )
            )
    return torch.cat(shown)


def noise_latents(
    seed: int, index: int, shapes: Sequence[tuple[int, ...]], device: torch.device
) -> list[Tensor]:
    """Return the noise that patch ``index`` of a seed is drawn from, (1, *shape) each."""
    return [torch.from_numpy(level[None]).to(device) for level in draw_noise(seed, index, shapes)]


def one_row(said: Mapping[str, Value], schema: Schema, device: torch.device) -> dict[str, Tensor]:
    """Return the conditions of one patch as a model takes them; what is not said is unknown."""
    return {name: torch.from_numpy(row).to(device) for name, row in schema.arrays([said]).items()}


@contextmanager
def _embedding_between(
    networks: Sequence[nn.Module], start: Conditions, end: Conditions, t: float
) -> Iterator[None]:
    """Make each embedding of conditions of ``start`` the one at t < 1 on the line to those of ``end``.

    Where a sampler is guided, some or all of the conditions are hidden from it at times: those stay hidden.
    """
    if t == 0 or all(bool(_same(start[name], end[name]).all()) for name in start):
        yield
        return

    def moved(module: Any, inputs: tuple[Conditions], embedding: Tensor) -> Tensor:
        given = inputs[0]
        goal = {name: torch.where(_same(row, start[name]), end[name], row) for name, row in given.items()}
        return torch.lerp(embedding, module.forward(goal), t)  # not module(): that would move it again

    encoders = [m for one in networks for m in one.modules() if isinstance(m, ConditionEncoder)]
    with ExitStack() as handles:
        for encoder in encoders:
            handles.callback(encoder.register_forward_hook(moved).remove)
        yield


def _unknown(conditions: Conditions) -> int:
    return sum(
        bool((row.isnan() if row.is_floating_point() else row == UNKNOWN).any())
        for row in conditions.values()
    )


def _same(rows: Tensor, one: Tensor) -> Tensor:
    """Return which rows are that one, unknown ones too, (B,) bool or (B, 1) as they go with them."""
    alike = (rows == one) | (rows.isnan() & one.isnan())
    return alike if alike.ndim == 1 else alike.all(dim=1, keepdim=True)


def _of(conditions: Conditions, index: int) -> dict[str, Tensor]:
    return {name: rows[index : index + 1] for name, rows in conditions.items()}
