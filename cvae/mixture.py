"""A Gaussian mixture over the coarsest latent of a trained model: what images are encoded to, in closed form.

The aggregate posterior q(z) = E_x q(z | x) is not the prior (Tomczak & Welling, 1705.07120); a mixture that is fitted
to draws from it once training is done is the plainest density that is nearer (Ghosh et al., 1903.12436). It is one of
the standardised latent u = (z - mean(c)) / deviation(c), by the model's prior p(z | c): the prior is u ~ N(0, I) then,
and a draw z = mean(c) + deviation(c) u still follows the conditions. Without a conditional prior u is z.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nlbs.cvae.guidance import Guidance
from nlbs.cvae.mixture_em import Parameters, log_density
from nlbs.cvae.model import ConditionalVAE
from nlbs.cvae.samplers import ModelSampler


class LatentMixture(nn.Module):
    """sum_k w_k N(u; m_k, diag v_k) over the standardised coarsest latent."""

    weights: Tensor  #: (K,) from 0 to 1, together 1
    means: Tensor  #: (K, latent_dim)
    variances: Tensor  #: (K, latent_dim), above 0

    def __init__(self, parameters: Parameters) -> None:
        """Takes the components; float32 is kept."""
        super().__init__()
        for name, values in parameters._asdict().items():
            self.register_buffer(name, values.float())

    @property
    def components(self) -> int:
        """How many there are."""
        return len(self.weights)

    def log_prob(self, u: Tensor) -> Tensor:
        """Gives the log-density of standardised latents (B, latent_dim) in nats, (B,) float64."""
        weights, means, variances = self.weights.double(), self.means.double(), self.variances.double()
        return log_density(u.double(), Parameters(weights, means, variances)).logsumexp(dim=1)

    def draw(self, choice: Tensor, noise: Tensor, temperature: float = 1.0) -> Tensor:
        """Gives standardised latents (B, latent_dim).

        Args:
            choice: (B,) from N(0, 1); the quantile that it is of that picks the component.
            noise: (B, latent_dim) from N(0, I).
            temperature: factor of the components' standard deviations.
        """
        borders = self.weights.double().cumsum(0)
        # Of the sum, which rounding leaves beside 1, and below it: none but a component of some weight is picked.
        quantile = torch.special.ndtr(choice.double()).clamp(max=1 - 1e-9) * borders[-1]
        picked = torch.searchsorted(borders, quantile, right=True)
        return self.means[picked] + temperature * self.variances[picked].sqrt() * noise


class MixtureSampler(ModelSampler):
    """Draws the coarsest latent from a mixture and the others from the model's prior, given it."""

    def __init__(
        self,
        model: ConditionalVAE,
        mixture: LatentMixture,
        temperature: float = 1.0,
        guidance: float | Guidance = 1.0,
    ) -> None:
        """Takes a trained model and the mixture that was fitted to it; puts both into eval mode.

        Args:
            model, mixture: on one device.
            temperature: factor of the standard deviations, the components' and those of the finer levels' prior; which
                component is picked does not depend on it.
            guidance: of mean(c); a number is that of all conditions at once.

        Raises:
            ConfigError: the temperature or a guidance is below 0.
        """
        super().__init__(model, temperature, guidance)
        self.mixture = mixture.eval()

    @property
    def noise_shapes(self) -> Sequence[tuple[int, ...]]:
        """The shapes of the latents of one patch, and a number that picks the component."""
        return [*self.model.latent_shapes, (1,)]

    def draw(self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        """Gives patches (B, 1, R, R) in [-1, 1]."""
        finer = [self.temperature * level for level in noise[:-1]]
        return self.model.render([self.latent(noise, conditions)], conditions, finer)

    def latent(self, noise: Sequence[Tensor], conditions: Mapping[str, Tensor]) -> Tensor:
        """Gives the coarsest latent z, (B, latent_dim), of noise and codes as :meth:`draw` takes them."""
        prior = self.model.coarse_prior(conditions, self.guidance)
        return prior.draw(self.mixture.draw(noise[-1][:, 0], noise[0], self.temperature))
