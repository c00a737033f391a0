"""Noise schedules of the variance-preserving SDE, dx = -beta(t) x / 2 dt + sqrt(beta(t)) dW (Song et al., 2011.13456).

x_t = signal(t) x_0 + deviation(t) n, where signal^2 = exp(-B), deviation^2 = 1 - exp(-B), and B(t) is the integral of
beta from 0 to t. A denoiser is asked with sigma = deviation / signal: the noise of an image that keeps its scale.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_OFFSET = 0.008  #: s of the cosine (Nichol & Dhariwal, 2102.09672, Eq. 17)
_LOW, _HIGH = 0.1, 20.0  #: beta at 0 and at 1 of the linear and the quadratic schedule
_LEAST = 1e-3  #: the first time that is trained at: noise of about one grey level
#: The strongest noise that is trained at: the mean of an image of 64 x 64, of deviation 0.3 or so, is lost in it.
_MOST_SIGMA = 100.0

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Schedule:
    """One schedule; times t from 0, an image, to 1, noise. All values in float64."""

    integral: Function  #: B of t
    inverse: Function  #: t of B
    beta: Function  #: of t: the derivative of B, but for a schedule as published
    least: float = _LEAST  #: the times that are trained at
    most: float = 1.0
    most_sigma: float = _MOST_SIGMA  #: where solvers begin at the latest
    last: float = _LEAST  #: where the reverse SDE ends; what noise is left there, the denoiser takes away

    def signal(self, t: Tensor) -> Tensor:
        """Return the factor of the image at times t."""
        return torch.exp(-self.integral(t) / 2)

    def deviation(self, t: Tensor) -> Tensor:
        """Return the standard deviation of the noise at times t."""
        return torch.sqrt(-torch.expm1(-self.integral(t)))

    def sigma(self, t: Tensor) -> Tensor:
        """Return the standard deviation of the noise beside an image that keeps its scale."""
        return torch.sqrt(torch.expm1(self.integral(t)))

    def time(self, sigma: Tensor) -> Tensor:
        """Return the times of such noise."""
        return self.inverse(torch.log1p(sigma.double().square()))

    def sigmas(self, steps: int) -> list[float]:
        """Return the noise at so many steps of a solver, evenly in its logarithm as 2211.01095 has it, and 0."""
        high, low = self.sigma(_times([self.most, self.least])).tolist()
        high = min(high, self.most_sigma)
        ratio = (low / high) ** (1 / max(steps - 1, 1))
        return [*(high * ratio**place for place in range(steps)), 0.0]

    def times(self, steps: int) -> Tensor:
        """Return evenly spaced times from noise to where the reverse SDE ends, (steps + 1,)."""
        return torch.linspace(self.most, self.last, steps + 1, dtype=torch.float64, device="cpu")


def schedule(name: str, shift: float = 1.0) -> Schedule:
    """Return a schedule by its name.

    Args:
        name: of SCHEDULES.
        shift: factor of sigma at each time: at a larger edge neighbours are alike, and the same noise hides less
            (Hoogeboom et al., 2301.11093, Eq. 3).
    """
    integral, inverse, beta = SCHEDULES[name]

    def shifted(t: Tensor) -> Tensor:
        return torch.log1p(shift**2 * torch.expm1(integral(t)))

    def derivative(t: Tensor) -> Tensor:
        return shift**2 * torch.exp(integral(t) - shifted(t)) * beta(t)

    def inverted(value: Tensor) -> Tensor:
        return inverse(torch.log1p(torch.expm1(value) / shift**2))

    most_sigma = _MOST_SIGMA * shift
    most = inverted(_times([math.log1p(most_sigma**2)]))
    return Schedule(shifted, inverted, derivative, most=min(1.0, float(most)), most_sigma=most_sigma)


def published_schedule(name: str) -> Schedule:
    """Return a schedule as published, whose noise and whose SDE disagree.

    Linear and quadratic: images are noised with half the integral of the beta that the SDE is solved with. Cosine: beta
    is a difference quotient, cut at 20, which it has at t = 0.9 and which is a tenth of what it should be at the end.
    """
    integral, inverse, beta = SCHEDULES[name]
    if name == "cosine":
        return Schedule(integral, inverse, _cut, last=0.0)
    return Schedule(lambda t: integral(t) / 2, lambda value: inverse(2 * value), beta, last=0.0)


def _times(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device="cpu")


def _angle(t: Tensor) -> Tensor:
    return (t.double() + _OFFSET) / (1 + _OFFSET) * (math.pi / 2)


_FIRST = math.cos(_OFFSET / (1 + _OFFSET) * (math.pi / 2))  #: cosine of the angle at t = 0


def _cosine_integral(t: Tensor) -> Tensor:
    return (-2 * torch.log(_angle(t).cos() / _FIRST)).clamp(min=0)  # rounding, at t = 0


def _cosine_inverse(value: Tensor) -> Tensor:
    return torch.arccos(torch.exp(-value / 2) * _FIRST) * (2 / math.pi) * (1 + _OFFSET) - _OFFSET


def _cosine_beta(t: Tensor) -> Tensor:
    return math.pi / (1 + _OFFSET) * _angle(t).tan()


def _cut(t: Tensor) -> Tensor:
    def logarithm(at: Tensor) -> Tensor:
        return torch.log((_angle(at).cos() / _FIRST).square() + 1e-8)

    return ((logarithm(t) - logarithm(t + 1e-4)) / 1e-4).clamp(1e-4, 20.0)


def _linear_integral(t: Tensor) -> Tensor:
    return _LOW * t.double() + (_HIGH - _LOW) / 2 * t.double().square()


def _linear_inverse(value: Tensor) -> Tensor:
    return 2 * value / (_LOW + torch.sqrt(_LOW**2 + 2 * (_HIGH - _LOW) * value))


def _linear_beta(t: Tensor) -> Tensor:
    return _LOW + (_HIGH - _LOW) * t.double()


def _quadratic_integral(t: Tensor) -> Tensor:
    return _LOW * t.double() + (_HIGH - _LOW) / 3 * t.double() ** 3


def _quadratic_inverse(value: Tensor) -> Tensor:
    # The one real root of t^3 + p t = q, by Vieta's hyperbolic form.
    p, q = 3 * _LOW / (_HIGH - _LOW), 3 * value / (_HIGH - _LOW)
    return 2 * math.sqrt(p / 3) * torch.sinh(torch.asinh(1.5 * q / p * math.sqrt(3 / p)) / 3)


def _quadratic_beta(t: Tensor) -> Tensor:
    return _LOW + (_HIGH - _LOW) * t.double().square()


#: name -> B of t, t of B, beta of t
SCHEDULES: dict[str, tuple[Function, Function, Function]] = {
    "cosine": (_cosine_integral, _cosine_inverse, _cosine_beta),
    "linear": (_linear_integral, _linear_inverse, _linear_beta),
    "quadratic": (_quadratic_integral, _quadratic_inverse, _quadratic_beta),
}
