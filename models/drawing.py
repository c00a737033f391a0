"""Drawing patches from a model: patch i is a function of (sampler, its condition, seed, i) alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nlbs.errors import CheckpointError, ConfigError
from nlbs.manifests.schema import Schema
from nlbs.models.contract import GenerativeModel, Shapes
from nlbs.models.guidance import Guidance, as_guidance
from nlbs.models.passes import Portable
from nlbs.models.pixels import as_patches

#: Patches that go through a model together: always as many, the last ones filled up, so that how many are
#: asked for, and which, does not change how the arithmetic of one is rounded.
BATCH = 16

_HOW_TO_MEND = "take another checkpoint of the run, or train again"

#: condition -> its values of n patches, as :mod:`nlbs.manifests.schema` says
Codes = Mapping[str, npt.NDArray[Any]]


class Grain(Protocol):
    """What lies on top of rendered patches."""

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """The shape of the noise of one patch."""
        ...

    def __call__(self, rendered: Tensor, noise: Tensor) -> Tensor:
        """Return rendered patches (B, 1, R, R) in [-1, 1] with the grain that noise (B, *noise_shape) becomes."""
        ...


class Sampler(Protocol):
    """Something that turns normal noise into patches."""

    @property
    def networks(self) -> Sequence[nn.Module]:
        """What it asks, each with an encoder of conditions of its own."""
        ...

    @property
    def noise_shapes(self) -> Sequence[tuple[int, ...]]:
        """The shapes of the noise that one patch needs."""
        ...

    @property
    def schema(self) -> Schema:
        """The conditions that it has."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the noise and the conditions have to lie."""
        ...

    @property
    def grain(self) -> Grain | None:
        """The grain that its patches have on top of what its model renders; None: none."""
        ...

    def draw(self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        """Return patches (B, C, R, R) in [-1, 1] of noise (B, *shape) each and codes (B,) each."""
        ...

    def portable(self) -> Portable:
        """Return how the same patches are drawn without torch. Raises ConfigError: they cannot be."""
        ...


class ModelSampler:
    """What samplers over one model share."""

    grain: Grain | None = None

    def __init__(
        self, model: GenerativeModel, temperature: float = 1.0, guidance: float | Guidance = 1.0
    ) -> None:
        """Take a trained model, which it puts into eval mode; see the samplers for the rest.

        Raises:
            ConfigError: the temperature or a guidance is below 0.
        """
        if not temperature >= 0:
            raise ConfigError(
                f"the temperature is {temperature:g}; expected 0 or more, 1 is the fitted distribution itself"
            )
        self.model, self.temperature, self.guidance = model.eval(), temperature, as_guidance(guidance)
        self.guidance.check(model.schema)

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The model."""
        return [self.model]

    @property
    def noise_shapes(self) -> Shapes:
        """The shapes of the noise that the model draws one patch from."""
        return self.model.drawing_noise

    @property
    def schema(self) -> Schema:
        """The model's conditions."""
        return self.model.schema

    @property
    def device(self) -> torch.device:
        """The model's."""
        return self.model.device


class OwnSampler(ModelSampler):
    """Draws as the model itself does, by its own ``draw``: a CVAE from its prior p(z | c), a GAN from its generator."""

    def __init__(
        self, model: GenerativeModel, temperature: float = 1.0, guidance: float | Guidance = 1.0
    ) -> None:
        """Take a trained model, which it puts into eval mode.

        Args:
            model: on its device.
            temperature: factor of the noise's standard deviations: below 1, likelier and less diverse patches.
            guidance: as the model takes it; a number is that of all conditions at once.

        Raises:
            ConfigError: the temperature or a guidance is below 0.
        """
        super().__init__(model, temperature, guidance)

    def draw(self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        """Return patches (B, C, R, R) in [-1, 1]."""
        scaled = [self.temperature * level for level in noise]
        return self.model.draw(scaled, conditions, self.guidance)

    def portable(self) -> Portable:
        """Return how the same patches are drawn without torch: in one go, guided as this sampler is."""
        return Portable(None, lambda _, noise, conditions: self.draw(noise, conditions))


class SamplerAround:
    """What samplers share that change the noise of another sampler, or what it draws."""

    def __init__(self, sampler: Sampler) -> None:
        """Take the other sampler."""
        self.sampler = sampler
        self.grain: Grain | None = sampler.grain

    @property
    def networks(self) -> Sequence[nn.Module]:
        """Those of the sampler."""
        return self.sampler.networks

    @property
    def noise_shapes(self) -> Shapes:
        """Those of the sampler."""
        return self.sampler.noise_shapes

    @property
    def schema(self) -> Schema:
        """That of the sampler."""
        return self.sampler.schema

    @property
    def device(self) -> torch.device:
        """The sampler's."""
        return self.sampler.device

    def portable(self) -> Portable:
        """Return that of the sampler."""
        return self.sampler.portable()


class Bfloat16Sampler(SamplerAround):
    """A sampler whose networks compute in bfloat16 where they lose nothing by it; noise and steps stay as they are."""

    def draw(self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        """Return patches (B, C, R, R) in [-1, 1]."""
        with torch.autocast(self.device.type, torch.bfloat16):
            return self.sampler.draw(noise, conditions).float()

    def portable(self) -> Portable:
        """Raise ConfigError: what is asked without torch computes in float32."""
        raise ConfigError(
            "--precision bfloat16 is of torch; without torch patches are drawn in float32: leave it out"
        )


def draw_noise(seed: int, index: int, shapes: Sequence[tuple[int, ...]]) -> list[npt.NDArray[np.float32]]:
    """Return the noise of one patch from N(0, I), whatever is drawn beside it: counter-based random numbers."""
    stream = np.random.SeedSequence(seed, spawn_key=(index,))
    generator = np.random.Generator(np.random.Philox(stream))
    return [generator.standard_normal(shape, dtype=np.float32) for shape in shapes]


def draw_patches(
    sampler: Sampler, conditions: Codes, seed: int, first: int = 0, numbers: npt.ArrayLike | None = None
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield synthetic patches, one after the other.

    Args:
        sampler: of a trained model.
        conditions: of every patch, n rows each as :mod:`nlbs.manifests.schema` says; patch i has the i-th.
        seed: not negative; the same one draws the same patches.
        first: leaves out the patches before this one; the others are the same with it or without.
        numbers: whose noise each patch is drawn from; None: patch i from the i-th.

    Yields:
        (R, R) uint8, air 0; of a model of colours (R, R, 3).
    """
    count = len(next(iter(conditions.values())))
    for start in range(first - first % BATCH, count, BATCH):
        places = np.arange(start, start + BATCH)
        chosen = np.minimum(places, count - 1)  # the last batch is filled up
        codes = {
            name: torch.from_numpy(conditions[name][chosen]).to(sampler.device)
            for name in sampler.schema.names
        }
        own = places if numbers is None else np.asarray(numbers)[chosen]
        noise = [draw_noise(seed, int(place), sampler.noise_shapes) for place in own]
        with torch.no_grad():
            patches = sampler.draw(
                [torch.from_numpy(np.stack(level)).to(sampler.device) for level in zip(*noise, strict=True)],
                codes,
            )
        _check_varied(patches)
        yield from to_uint8(patches)[max(first - start, 0) : count - start]


def to_uint8(pixels: Tensor) -> npt.NDArray[np.uint8]:
    """Return pixels (B, C, R, R) in [-1, 1] as stored patches, uint8 (B, R, R) or (B, R, R, 3); -1 becomes 0, air.

    Raises:
        CheckpointError: the model made something else than numbers, which would turn out black.
    """
    if not bool(torch.isfinite(pixels).all()):
        raise CheckpointError(
            "the model makes pixels that are not finite (NaN or infinity) of these conditions and latents: its weights "
            f"are spoilt, or an option is far too large; {_HOW_TO_MEND}"
        )
    return as_patches(pixels.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8))


def uncertainty_tiles(apart: Tensor) -> tuple[Tensor, str]:
    """Return uncertainties (B, C, R, R), on [-1, 1], as pixels whose white is the largest of them, and a caption."""
    white = apart.max().clamp(min=1e-6)
    return 2 * apart / white - 1, f"uncertain\nwhite: {127.5 * float(white):.0f} of 255"


def _check_varied(patches: Tensor) -> None:
    """Refuse a whole batch of draws (B, C, R, R) that show nothing at all.

    Raises:
        CheckpointError: each of them is of one value throughout.
    """
    if patches[0].numel() > 1 and bool((patches == patches[:, :, :1, :1]).all()):
        raise CheckpointError(
            f"all {len(patches)} patches that the model draws together are of one grey value throughout: its weights "
            f"are spoilt, or an option is far too large; {_HOW_TO_MEND}"
        )
