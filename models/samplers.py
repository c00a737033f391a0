"""Samplers of whatever denoises: from noise to images, guided by the schema, free or with something known of them.

All work on images that keep their scale: x = image + sigma n, and D(x, sigma) is the expected image. The score is
(D - x) / sigma^2 (Karras et al., 2206.00364, Eq. 3).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from nlbs.errors import ConfigError
from nlbs.models.contract import Denoises, GenerativeModel, Shapes, capable
from nlbs.models.device import require_float64
from nlbs.models.drawing import ModelSampler
from nlbs.models.family import SOLVERS
from nlbs.models.guidance import Guidance
from nlbs.models.schedules import Schedule

KEY = (4,)  #: shape of the noise of a patch from which the noise of all steps is made

#: The expected images (B, C, R, R) of noisy ones at one sigma.
Denoise = Callable[[Tensor, float], Tensor]
#: Normal noise (B, C, R, R) by its number, 0 and on.
Numbered = Callable[[int], Tensor]
#: Images with what is known of them in its place.
Onto = Callable[[Tensor], Tensor]
#: Images of noise (B, C, R, R) from N(0, I), a denoiser, its schedule, steps and the noise of each; patch i depends on
#: row i of all of these alone.
Solver = Callable[[Tensor, Denoise, Schedule, int, Numbered], Tensor]


def numbered_noise(keys: Tensor, number: int, shape: Sequence[int]) -> Tensor:
    """Return noise of some patches from N(0, I), (B, *shape): a function of each one's key and of the number alone.

    Args:
        keys: (B, 4) float32 of :data:`KEY`: their bits are the key of a counter-based generator.
        number: of the step, 0 and on.
        shape: of one patch.
    """
    # On the processor whatever the device: a device's own generator would draw other patches than a processor's.
    words = keys.detach().cpu().numpy().astype(np.float32).view(np.uint32)
    drawn = [
        np.random.Generator(np.random.Philox(np.random.SeedSequence(key.tolist(), spawn_key=(number,))))
        for key in words
    ]
    return torch.from_numpy(
        np.stack([generator.standard_normal(tuple(shape), dtype=np.float32) for generator in drawn])
    ).to(keys.device)


def heun(
    start: Tensor, denoise: Denoise, schedule: Schedule, steps: int, noise: Numbered, passes: int = 1
) -> Tensor:
    """Solve the probability-flow ODE dx/dsigma = (x - D) / sigma by Heun's rule: Algorithm 1 of 2206.00364.

    With several passes the noise of each step is added again, and taken away again (Xu et al., 2306.14878): what is
    drawn settles beside what is known (Lugmayr et al., 2201.09865).
    """
    sigmas = schedule.sigmas(steps)
    x, number = sigmas[0] * start, 0
    for sigma, after in pairwise(sigmas):
        for left in reversed(range(passes if after else 1)):
            slope = (x - denoise(x, sigma)) / sigma
            reached = x + (after - sigma) * slope
            if after:
                slope = (slope + (reached - denoise(reached, after)) / after) / 2
                reached = x + (after - sigma) * slope
            x = reached
            if left:
                x = reached + math.sqrt(sigma**2 - after**2) * noise(number)
                number += 1
    return x


def dpm_solver(start: Tensor, denoise: Denoise, schedule: Schedule, steps: int, noise: Numbered) -> Tensor:
    """Solve the same by DPM-Solver++(2M), which remembers the step before: Algorithm 2 of Lu et al., 2211.01095."""
    sigmas = schedule.sigmas(steps)
    x, before, length_before = sigmas[0] * start, None, 0.0
    for sigma, after in pairwise(sigmas):
        image = denoise(x, sigma)
        if not after:
            return image
        length = math.log(sigma / after)
        ahead = image if before is None else image + length / (2 * length_before) * (image - before)
        x = after / sigma * x - math.expm1(-length) * ahead
        before, length_before = image, length
    return x


def euler_maruyama(
    start: Tensor, denoise: Denoise, schedule: Schedule, steps: int, noise: Numbered
) -> Tensor:
    """Solve the reverse of the variance-preserving SDE in even steps of time: Eq. 6 of 2011.13456."""
    times = schedule.times(steps)
    length = float(times[0] - times[1])
    signals, sigmas, betas = (
        part(times).tolist() for part in (schedule.signal, schedule.sigma, schedule.beta)
    )
    x = start
    for number in range(steps):
        signal, sigma, beta = signals[number], sigmas[number], betas[number]
        score = (signal * denoise(x / signal, sigma) - x) * (1 + 1 / sigma**2)
        x = x + (x / 2 + score) * (beta * length) + math.sqrt(beta * length) * noise(number)
    return denoise(x / signals[-1], sigmas[-1]) if schedule.last else x


#: By the names of :data:`nlbs.models.family.SOLVERS`.
SOLVE: dict[str, Solver] = {"dpm": dpm_solver, "ode": heun, "sde": euler_maruyama}


class DenoisingSampler(ModelSampler):
    """Draws by a solver from a model that denoises."""

    def __init__(
        self,
        model: GenerativeModel,
        solver: str = "dpm",
        steps: int | None = None,
        guidance: float | Guidance = 1.0,
    ) -> None:
        """Take a trained model, which it puts into eval mode.

        Args:
            model: on its device.
            solver: of :data:`SOLVE`.
            steps: of the solver; None: those of :data:`nlbs.models.family.SOLVERS`.
            guidance: of the expected image; a number is that of all conditions at once.

        Raises:
            ConfigError: the model does not denoise, fewer than one step, or a guidance below 0.
        """
        super().__init__(model, guidance=guidance)
        self._denoiser = capable(model, Denoises, f"the sampler {solver}")
        require_float64(model.device, f"the sampler {solver}")
        self.solver, self.steps = solver, SOLVERS[solver] if steps is None else steps
        if self.steps < 1:
            raise ConfigError(f"{self.steps} steps of the sampler are asked for; expected 1 or more")

    @property
    def noise_shapes(self) -> Shapes:
        """The shapes of the noise that one patch is drawn from: with a key, where each step has noise of its own."""
        return solver_noise(self.solver, self.model)

    def draw(self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        """Return patches (B, C, R, R) in [-1, 1]."""
        return self._solved(SOLVE[self.solver], noise, conditions, lambda image: image)

    def edited(
        self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor], onto: Onto, passes: int
    ) -> Tensor:
        """Return patches of which something is known: every expected image is brought to agree with it.

        D' = A+ y + (1 - A+ A) D, of a measurement y = A x: pixels, or means of blocks (Wang et al., 2212.00490, Eq. 9).

        Args:
            noise: (B, C, R, R), and (B, 4) as :func:`numbered_noise` takes it.
            conditions: of the same patches.
            onto: D' of D.
            passes: over each step.
        """

        return self._solved(partial(heun, passes=passes), noise, conditions, onto)

    def _solved(
        self, solve: Solver, noise: Sequence[Tensor], conditions: Mapping[str, Tensor], onto: Onto
    ) -> Tensor:
        codes = self.model.checked(conditions)

        def denoise(x: Tensor, sigma: float) -> Tensor:
            def predict(some: dict[str, Tensor], times: int) -> list[Tensor]:
                strength = torch.full((times * len(x),), sigma, dtype=torch.float64, device=x.device)
                return [self._denoiser.denoise(torch.cat([x] * times), strength, some)]

            return onto(self.guidance.follow(codes, predict)[0])

        def numbered(number: int) -> Tensor:
            return numbered_noise(noise[1], number, noise[0].shape[1:])

        found = solve(noise[0], denoise, self._denoiser.schedule, self.steps, numbered)
        return found.float().clamp(-1, 1)


def solver_noise(solver: str, model: GenerativeModel) -> Shapes:
    """Return the shapes of the noise that a solver draws one patch of a model from."""
    image = (model.image.channels, model.resolution, model.resolution)
    return (image, KEY) if solver == "sde" else (image,)


def edited_noise(model: GenerativeModel) -> Shapes:
    """Return the shapes of the noise that :meth:`DenoisingSampler.edited` takes."""
    return solver_noise("sde", model)
