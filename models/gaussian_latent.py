"""What models with one Gaussian latent share, mostly with the prior N(0, I): drawing, rebuilding, bounding, looking."""

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from nlbs.manifests.schema import Schema
from nlbs.models.conditioning import ConditionEncoder
from nlbs.models.contract import Clock, Conditions, GenerativeModel, Noise, Shapes, Turn, full_precision
from nlbs.models.family import ImageSpec
from nlbs.models.guidance import Guidance, as_guidance


class GaussianLatentModel(GenerativeModel):
    """q(z | x, c) is diagonal, p(z) = N(0, I) unless a family says another, and a decoder's maps say p(x | z, c).

    A family gives the networks (:meth:`encoded`, :meth:`decoded`, :meth:`shown`) and its turns.
    """

    coarsest_edge: int  #: edge of the encoder's last map

    def __init__(
        self, image: ImageSpec, schema: Schema, latent_shape: tuple[int, ...], embed_dim: int
    ) -> None:
        """Take what its images are like, the shape of the latent, and how wide conditions are embedded (0: none)."""
        super().__init__(image, schema)
        self.latent_shapes: Shapes = (latent_shape,)
        self.condition_encoder = ConditionEncoder(embed_dim, schema) if embed_dim else None

    @abstractmethod
    def encoded(self, pixels: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar of q(z | x, c), (B, *latent_shape) each, of pixels in [-1, 1]."""

    @abstractmethod
    def decoded(self, z: Tensor, embedding: Tensor) -> Tensor:
        """Return the decoder's maps, (B, maps, R, R)."""

    @abstractmethod
    def shown(self, maps: Tensor) -> Tensor:
        """Return what maps show, (B, C, R, R), aimed at [-1, 1]."""

    def embedded(self, conditions: Conditions) -> Tensor:
        """Return (B, embed_dim) of conditions; (B, 0) where the model sees none."""
        if self.condition_encoder is None:
            return next(self.parameters()).new_zeros(len(next(iter(conditions.values()))), 0)
        embedding: Tensor = self.condition_encoder(conditions)
        return embedding

    def passed(
        self, pixels: Tensor, conditions: Conditions, noise: Noise
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return maps of latents that are drawn by noise, mu, logvar and (B,) nats of KL; all in float32."""
        embedding = self.embedded(conditions)
        mu, logvar = self.encoded(pixels, embedding)
        z = drawn(mu, logvar, noise)
        maps = self.decoded(z, embedding)
        with full_precision(pixels.device):
            mu, logvar = mu.float(), logvar.float()
            return maps.float(), mu, logvar, self.estimated_kl(mu, logvar, z.float())

    def kl(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """Return the KL of q(z | x, c) from the prior, or a bound above it, in nats, (B,)."""
        return kl_divergence(mu, logvar)

    def estimated_kl(self, mu: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
        """Return what training takes for that KL; z was drawn from q(z | x, c)."""
        return self.kl(mu, logvar)

    def from_prior(self, noise: Noise) -> Tensor:
        """Return latents (B, latent_dim) of the prior."""
        return noise[0]

    @property
    def drawing_noise(self) -> Shapes:
        """Epsilon of the latent."""
        return self.latent_shapes

    def draw(self, noise: Noise, conditions: Conditions, guidance: float | Guidance = 1) -> Tensor:
        """Return images of latents from the prior; guidance moves the embedding of the conditions."""
        (embedding,) = as_guidance(guidance).follow(
            self.checked(conditions), lambda some, _: [self.embedded(some)]
        )
        return self.shown(self.decoded(self.from_prior(noise), embedding).float()).clamp(-1, 1)

    def reconstruct(self, pixels: Tensor, conditions: Conditions) -> Tensor:
        """Return the images of the latents' means, (B, C, R, R)."""
        return self.bound(pixels, conditions)[0]

    def bound(self, pixels: Tensor, conditions: Conditions) -> tuple[Tensor, Tensor]:
        """Return the same, and (B, 1) nats of KL."""
        embedding = self.embedded(self.checked(conditions))
        mu, logvar = self.encoded(pixels, embedding)
        nats = self.kl(mu.float(), logvar.float())
        return self.shown(self.decoded(mu, embedding).float()), nats.unsqueeze(1)

    def infer(self, pixels: Tensor, conditions: Conditions, noise: Noise | None = None) -> list[Tensor]:
        """Return the latent of images, (B, *latent_shape)."""
        mu, logvar = self.encoded(pixels, self.embedded(self.checked(conditions)))
        return [mu if noise is None else drawn(mu, logvar, noise)]

    def render(self, latents: Sequence[Tensor], conditions: Conditions, noise: Noise | None = None) -> Tensor:
        """Return the images of latents, (B, C, R, R) in [-1, 1]."""
        maps = self.decoded(latents[0], self.embedded(self.checked(conditions)))
        return self.shown(maps.float()).clamp(-1, 1)

    def shifts(self, pixels: Tensor, conditions: Conditions) -> list[Tensor]:
        """Return the means of the latents, as the prior is N(0, I)."""
        return self.infer(pixels, conditions)


class OneTurnModel(GaussianLatentModel):
    """One whose encoder and decoder are all that it trains; a family gives its loss (:meth:`weighed`)."""

    @property
    @abstractmethod
    def term_names(self) -> Sequence[str]:
        """The names of the terms of the loss, "total" first."""

    @abstractmethod
    def weighed(self, maps: Tensor, mu: Tensor, kl: Tensor, pixels: Tensor, clock: Clock) -> Sequence[Tensor]:
        """Return the terms of the loss, scalars in the order of their names.

        Args:
            maps: the decoder's, (B, maps, R, R) float32.
            mu: means of the latents, (B, latent_dim) float32.
            kl: the mean over the batch of the KL divergence, a scalar in nats.
            pixels: (B, C, R, R) float32 in [-1, 1].
            clock: where the run is.
        """

    def turns(self) -> Sequence[Turn]:
        """Return the one turn, judged with the latents drawn as well."""
        noise = self.latent_shapes
        return (Turn("model", tuple(self.parameters()), self.term_names, noise, noise),)

    def terms(
        self, turn: str, pixels: Tensor, conditions: Conditions, noise: Noise, clock: Clock
    ) -> dict[str, Tensor]:
        """Return the terms of the loss at latents that are drawn by noise."""
        maps, mu, _, nats = self.passed(pixels, conditions, noise)
        with full_precision(pixels.device):
            terms = self.weighed(maps, mu, nats.mean(), pixels.float(), clock)
        return dict(zip(self.term_names, terms, strict=True))


def drawn(mu: Tensor, logvar: Tensor, noise: Noise) -> Tensor:
    """Return z = mu + exp(logvar / 2) epsilon."""
    return mu + (logvar / 2).exp() * noise[0]


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mu, exp(logvar)) || N(0, I)) of each sample, (B,), in nats."""
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).flatten(1).sum(dim=1)
