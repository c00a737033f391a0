"""Draws from a rectified flow: its velocity, guided, carries noise to the coarse latents; the model does the rest.

A flow that was fitted to too little errs where the better one does, and farther: away from it lies what neither has
learned yet. v = v_weak + a (v - v_weak), a > 1, is autoguidance (Karras et al., 2406.02507, Eq. 3); unlike guidance by
conditions it makes draws better without making them more alike.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from nlbs.errors import ConfigError
from nlbs.models.contract import Conditions, Encodes, GenerativeModel, Noise, Shapes, capable
from nlbs.models.drawing import ModelSampler
from nlbs.models.family import FLOW_STEPS, SOLVERS
from nlbs.models.guidance import Guidance, check_autoguidance
from nlbs.models.passes import Network, Passes, Portable, no_passes, recorded
from nlbs.models.samplers import KEY, SOLVE, numbered_noise
from nlbs.models.schedules import schedule
from nlbs.models.stages.flow import LatentFlow

#: Of latents whose deviation is 1: stronger noise hides all of them, and weaker noise is none.
SCHEDULE = dataclasses.replace(schedule("cosine"), most_sigma=30.0, least=0.01)


class FlowSampler(ModelSampler):
    """Draws the coarse latents from a flow and the others from the model's prior."""

    def __init__(
        self,
        model: GenerativeModel,
        flow: LatentFlow,
        steps: int = FLOW_STEPS,
        guidance: float | Guidance = 1.0,
        temperature: float = 1.0,
        interval: tuple[float, float] = (0.0, 1.0),
        weak: LatentFlow | None = None,
        autoguidance: float = 1.0,
    ) -> None:
        """Take a trained model and the flow that was fitted to it; put them into eval mode.

        Args:
            model, flow: on one device.
            steps: of the midpoint rule from noise to latents, two passes each; 15 are enough, see docs/decisions/0011.
            guidance: of the velocity; a number is that of all conditions at once.
            temperature: factor of the standard deviations of the levels that the model's prior draws.
            interval: the times between which draws are guided, noise at 0 (Kynkaanniemi et al., 2404.07724).
            weak: a flow over the same latents that was fitted to fewer patches; on the same device.
            autoguidance: how many times as far from the weak flow draws go as the flow itself; 1 leaves that one out.

        Raises:
            ConfigError: fewer than one step, a temperature or a guidance below 0, a temperature where the flow draws
                all latents, an autoguidance below 1, or one without a weak flow, or with one of another scale.
        """
        super().__init__(model, temperature, guidance)
        if steps < 1:
            raise ConfigError(f"{steps} steps of the flow are asked for; expected 1 or more")
        encoder = capable(model, Encodes, "drawing from a flow")
        if temperature != 1 and len(flow.shapes) == len(encoder.latent_shapes):
            raise ConfigError(
                f"a temperature of {temperature:g} is of what the model's own prior draws, and this flow draws all "
                "latents: leave it at 1"
            )
        check_autoguidance(autoguidance)
        if autoguidance != 1 and weak is None:
            raise ConfigError("autoguidance needs a weak flow beside the flow")
        if weak is not None and not weak.is_scaled_like(flow):
            raise ConfigError(
                "the weak flow was not fitted beside this flow: it sees latents at another scale; run nlbs-train on "
                "the run again, which fits it anew, or leave autoguidance at 1"
            )
        self._render = encoder.render
        self.flow = _ready(flow)
        self.weak = _ready(weak) if weak is not None and autoguidance != 1 else None
        self.steps, self.interval, self.autoguidance = steps, interval, autoguidance

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The model and the flows: each looks at the conditions with an encoder of its own."""
        return [self.model, self.flow, *([] if self.weak is None else [self.weak])]

    def draw(self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        """Return patches (B, 1, R, R) in [-1, 1]."""
        finer = [self.temperature * level for level in noise]
        return self._render(self.latents(noise, conditions), conditions, finer)

    def latents(self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the coarse latents (B, *shape) that noise is carried to."""
        x = [level.contiguous(memory_format=torch.channels_last) for level in self.flow.as_maps(noise)]
        return self.flow.unscaled(
            _carried(x, lambda some, time: self._velocity(some, time, conditions), self.steps)
        )

    def portable(self) -> Portable:
        """Return how the same patches are drawn without torch."""

        def finish(flat: Tensor, noise: Noise, conditions: Conditions) -> Tensor:
            finer = [self.temperature * level for level in noise]
            return self._render(self.flow.unscaled(self._maps(flat)), conditions, finer)

        weak = None if self.weak is None else self._pass_of(self.weak)
        recording = recorded(self._solve)
        passes = Passes(self._pass_of(self.flow), len(self.flow.shapes), *recording, weak, self.autoguidance)
        return Portable(passes, finish)

    def _solve(self, start: Tensor, ask: Callable[[Tensor, float], Tensor]) -> Tensor:
        return _carried([start], lambda x, time: [ask(x[0], time)], self.steps)[0]

    def _pass_of(self, flow: LatentFlow) -> Network:
        """Return its velocity, of maps flat in a row."""
        return lambda flat, time, conditions: _joined(flow(self._maps(flat), time, conditions))

    def _maps(self, flat: Tensor) -> list[Tensor]:
        """Return levels that lie flat in a row, (B, n), as maps (B, C, H, W)."""
        shapes = self.flow.shapes
        parts = zip(torch.split(flat, [math.prod(s) for s in shapes], dim=1), shapes, strict=True)
        return [p.reshape(-1, *s).contiguous(memory_format=torch.channels_last) for p, s in parts]

    def _velocity(self, x: Sequence[Tensor], time: float, conditions: Mapping[str, Tensor]) -> list[Tensor]:
        low, high = self.interval
        guidance = self.guidance if low <= time <= high else Guidance()

        def predict(codes: Mapping[str, Tensor], times: int) -> list[Tensor]:
            return self._ask(self.flow, [torch.cat([level] * times) for level in x], time, codes)

        velocity, known = guidance.both(conditions, predict)
        if self.weak is None:
            return velocity
        weaker = self._ask(self.weak, x, time, conditions)
        more = self.autoguidance - 1
        return [v + more * (a - b) for v, a, b in zip(velocity, known, weaker, strict=True)]

    def _ask(
        self, flow: LatentFlow, x: Sequence[Tensor], time: float, codes: Mapping[str, Tensor]
    ) -> list[Tensor]:
        velocity: list[Tensor] = flow(x, torch.full((len(x[0]),), time, device=x[0].device), codes)
        return velocity


class FlowSolver(FlowSampler):
    """Draws from a flow by the solvers of diffusion models: one pass in each step of DPM-Solver++, in place of two.

    A velocity is a denoiser: of y = x_1 + sigma x_0, which is x_t / t at t = 1 / (1 + sigma), the expected x_1 is
    x_t + (1 - t) v(x_t, t).
    """

    def __init__(
        self,
        model: GenerativeModel,
        flow: LatentFlow,
        solver: str = "dpm",
        steps: int | None = None,
        guidance: float | Guidance = 1.0,
        weak: LatentFlow | None = None,
        autoguidance: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        """Take a trained model and the flow that was fitted to it; put them into eval mode.

        Args:
            model, flow: on one device.
            solver: of :data:`nlbs.models.samplers.SOLVE`.
            steps: of the solver; None: those of :data:`nlbs.models.family.SOLVERS`.
            guidance: of the velocity; a number is that of all conditions at once.
            weak, autoguidance, temperature: as :class:`FlowSampler` takes them.

        Raises:
            ConfigError: as of :class:`FlowSampler`.
        """
        count = SOLVERS[solver] if steps is None else steps
        super().__init__(model, flow, count, guidance, temperature, weak=weak, autoguidance=autoguidance)
        self.solver = solver

    @property
    def noise_shapes(self) -> Shapes:
        """Those of the model, and a key where each step has noise of its own."""
        return (*self.model.drawing_noise, *([KEY] if self.solver == "sde" else []))

    def latents(self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the coarse latents (B, *shape) that noise is carried to."""

        def denoise(noisy: Tensor, sigma: float) -> Tensor:
            t = 1 / (1 + sigma)
            return self._expected(noisy, t, lambda x: self._velocity(x, t, conditions))

        start = _joined(self.flow.as_maps(noise))
        found = SOLVE[self.solver](
            start,
            denoise,
            SCHEDULE,
            self.steps,
            lambda number: numbered_noise(noise[-1], number, start.shape[1:]),
        )
        return self.flow.unscaled(self._maps(found))

    def portable(self) -> Portable:
        """Return how the same patches are drawn without torch. Raises ConfigError: each step has noise of its own."""
        if len(self.noise_shapes) > len(self.model.drawing_noise):
            raise no_passes(self.solver)
        return super().portable()

    def _expected(
        self, noisy: Tensor, t: Tensor | float, velocity: Callable[[list[Tensor]], list[Tensor]]
    ) -> Tensor:
        """Return x_t + (1 - t) v of x_t = t y, latents flat in a row."""
        x = t * noisy
        return x + (1 - t) * _joined(velocity(self._maps(x)))

    def _solve(self, start: Tensor, ask: Callable[[Tensor, float], Tensor]) -> Tensor:
        return SOLVE[self.solver](start, ask, SCHEDULE, self.steps, lambda _: start)

    def _pass_of(self, flow: LatentFlow) -> Network:
        """Return the denoiser, of latents flat in a row."""

        def denoise(noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
            t = 1 / (1 + sigma)
            return self._expected(noisy, t[:, None], lambda x: flow(x, t, conditions))

        return denoise


def _ready(flow: LatentFlow) -> LatentFlow:
    # Channels last: the convolutions of a small network take two thirds of the time.
    found: LatentFlow = flow.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return found


def _carried(
    x: Sequence[Tensor], velocity: Callable[[Sequence[Tensor], float], list[Tensor]], steps: int
) -> Sequence[Tensor]:
    """Return what a velocity carries maps to from time 0 to 1, by the midpoint rule."""
    length = 1 / steps
    for number in range(steps):
        start = number * length
        half = _moved(x, velocity(x, start), length / 2)
        x = _moved(x, velocity(half, start + length / 2), length)
    return x


def _joined(levels: Sequence[Tensor]) -> Tensor:
    return torch.cat([level.flatten(1) for level in levels], dim=1)


def _moved(x: Sequence[Tensor], velocity: Sequence[Tensor], length: float) -> list[Tensor]:
    return [a + length * b for a, b in zip(x, velocity, strict=True)]
