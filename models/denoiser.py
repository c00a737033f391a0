"""Diffusion models of images: a U-Net that takes noise of any strength away, and is told which image to find."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from nlbs.manifests.schema import Schema
from nlbs.models.conditioning import ConditionEncoder
from nlbs.models.contract import Clock, Conditions, Doubts, GenerativeModel, Noise, Shapes, Turn
from nlbs.models.diffusion import DiffusionConfig
from nlbs.models.family import ImageSpec
from nlbs.models.guidance import Guidance
from nlbs.models.samplers import DenoisingSampler, solver_noise
from nlbs.models.schedules import published_schedule, schedule
from nlbs.models.unet import PublishedUNet, TimeEmbedding, UNet


class DiffusionModel(GenerativeModel):
    """D(x, sigma) = sum over bands of (d / s)^2 x + sigma d / s F(x / s, t, c), where s^2 = sigma^2 + d^2.

    Table 1 of Karras et al., 2206.00364, for each band by itself: the means of blocks, and what pixels differ from them
    by; d is the deviation of a band's coefficients. What goes into F and what it has to find have deviation 1 at each
    sigma, and with F = 0 the bands are filtered as well as linear filters can. Errors of images count as they do with a
    single band. That, with d = 1, is v of Salimans & Ho, 2202.00512, which is -F.

    With ``prediction: score`` it is the published model: F is the score of x_t, which grows as 1 / deviation(t), and
    conditions are ignored.
    """

    family = "diffusion"

    def __init__(self, config: DiffusionConfig, image: ImageSpec, schema: Schema) -> None:
        """Make one with fresh weights."""
        super().__init__(image, schema)
        self.config, self.is_published = config, config.prediction == "score"
        channels = image.channels * config.unshuffle**2
        if self.is_published:
            self.schedule = published_schedule(config.schedule)
            self.published = PublishedUNet(channels, config.widths, config.blocks, config.embed_dim)
            return
        self.schedule = schedule(config.schedule, config.shift)
        self.condition_encoder = ConditionEncoder(config.embed_dim, schema)
        self.time = TimeEmbedding(config.embed_dim)
        self.network = UNet(channels, config.widths, config.blocks, config.attention, config.embed_dim)

    def forward(self, x: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """Return F, (B, C, R, R) float32, of scaled images (B, C, R, R) at times (B,)."""
        if self.is_published:
            score: Tensor = self.published(x, t).float()
            return score
        embedding = functional.silu(self.time(t) + self.condition_encoder(conditions))
        found = self.network(functional.pixel_unshuffle(x, self.config.unshuffle), embedding)
        return functional.pixel_shuffle(found, self.config.unshuffle).float()

    # Training.

    def turns(self) -> Sequence[Turn]:
        """Return the one turn; its noise is a time, by its distribution function, and what is added."""
        shapes = ((1,), (self.image.channels, self.resolution, self.resolution))
        names = ("total", "little_noise", "much_noise")
        return [Turn("denoiser", list(self.parameters()), names, shapes, shapes)]

    def terms(
        self, turn: str, pixels: Tensor, conditions: Conditions, noise: Noise, clock: Clock
    ) -> dict[str, Tensor]:
        """Return the mean squared error of F, and what the earlier and the later half of times have in it."""
        share = torch.special.ndtr(noise[0][:, 0].double())
        t = self.schedule.least + (self.schedule.most - self.schedule.least) * share
        errors = self._errors(pixels, t, conditions, noise[1]).square().flatten(1).mean(dim=1)
        little = torch.where(share < 0.5, errors, 0.0).mean()
        much = torch.where(share < 0.5, 0.0, errors).mean()
        return {"total": little + much, "little_noise": little, "much_noise": much}

    def _errors(self, pixels: Tensor, t: Tensor, conditions: Conditions, noise: Tensor) -> Tensor:
        if self.is_published:
            signal, deviation = _beside(self.schedule.signal(t)), _beside(self.schedule.deviation(t))
            # deviation^2 |F + noise / deviation|^2
            score = self._ask(signal * pixels + deviation * noise, t, conditions)
            return deviation * score + noise
        sigma, d = self.schedule.sigma(t), self._deviation
        found = self._ask(
            self._scaled(pixels + _beside(sigma) * noise, sigma, lambda s, d: 1 / s), t, conditions
        )
        # D - pixels over sigma d / s of a single band, without the small difference of pixels at little noise.
        return _beside(_total(sigma, d) / d) * (
            self._scaled(found, sigma, lambda s, d: d / s)
            - self._scaled(pixels, sigma, lambda s, d: sigma / s**2)
            + self._scaled(noise, sigma, lambda s, d: d**2 / s**2)
        )

    def judged(self, means: Mapping[str, float]) -> float:
        """Return the mean squared error: times and noise are the same at each judgement."""
        return means["total"]

    # Drawing.

    def denoise(self, noisy: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        """Return the expected images (B, C, R, R) of noisy ones, whose noise has the deviation sigma, (B,) float64."""
        t = self.schedule.time(sigma)
        if self.is_published:
            signal, deviation = _beside(self.schedule.signal(t)), _beside(self.schedule.deviation(t))
            return noisy + deviation.square() / signal * self._ask(signal * noisy, t, conditions)
        found = self._ask(self._scaled(noisy, sigma, lambda s, d: 1 / s), t, conditions)
        skipped = self._scaled(noisy, sigma, lambda s, d: (d / s).square())
        return skipped + self._scaled(found, sigma, lambda s, d: sigma * d / s)

    @property
    def drawing_noise(self) -> Shapes:
        """The noise of one patch, by the sampler that the configuration names."""
        return solver_noise(self.config.sampler, self)

    def draw(self, noise: Noise, conditions: Conditions, guidance: float | Guidance = 1) -> Tensor:
        """Return patches (B, C, R, R) in [-1, 1] by the sampler that the configuration names.

        Raises:
            ConfigError: conditions that are missing or out of range, or a guidance that the model does not have.
        """
        return DenoisingSampler(self, self.config.sampler, self.config.steps, guidance).draw(
            noise, conditions
        )

    @property
    def doubts(self) -> Doubts:
        """What a person should know of its draws."""
        if not self.is_published:
            return Doubts()
        return Doubts(
            "This is the diffusion model as published, which knows no conditions: what is asked for changes nothing."
        )

    def _ask(self, x: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        found: Tensor = self(x, t, conditions)
        return found

    @property
    def _deviation(self) -> float:
        return 1.0 if self.config.prediction == "v" else self.config.data_deviation

    def _scaled(self, image: Tensor, sigma: Tensor, factor: Callable[[Tensor, float], Tensor]) -> Tensor:
        """Return images, each band times a factor of its s and d."""
        config, d = self.config, self._deviation
        if config.prediction != "edm" or config.detail_deviation is None or config.unshuffle == 1:
            return _beside(factor(_total(sigma, d), d)) * image
        # A block's mean as a coefficient of unit length has the noise of a pixel, and more of the image.
        of_means, of_details = config.unshuffle * d, config.detail_deviation
        detail = _beside(factor(_total(sigma, of_details), of_details))
        means = functional.interpolate(
            functional.avg_pool2d(image, config.unshuffle), scale_factor=float(config.unshuffle)
        )
        return detail * image + (_beside(factor(_total(sigma, of_means), of_means)) - detail) * means


def _total(sigma: Tensor, deviation: float) -> Tensor:
    return torch.sqrt(sigma.double().square() + deviation**2)


def _beside(values: Tensor) -> Tensor:
    """Return (B,) as float32 that goes with images."""
    return values.to(torch.float32)[:, None, None, None]
