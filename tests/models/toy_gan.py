"""A family of two turns: a least-squares GAN (Mao et al., 1611.04076) around the generator of the toy."""

from collections.abc import Sequence

from torch import Tensor, nn

from nlbs.manifests.schema import Schema
from nlbs.models.contract import Clock, Conditions, GenerativeModel, ImageSpec, Noise, Shapes, Turn
from nlbs.models.family import Family
from nlbs.models.guidance import Guidance
from tests.models.toy import PRESETS, Toy, ToyConfig


class ToyGan(GenerativeModel):
    """Nothing judges its weights: the newest are kept."""

    family = "toy-gan"

    def __init__(self, config: ToyConfig, image: ImageSpec, schema: Schema) -> None:
        super().__init__(image, schema)
        self.config, self.generator = config, Toy(config, image, schema)
        self.discriminator = nn.Sequential(
            nn.Conv2d(image.channels, config.width, 4, stride=4),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(config.width * (image.edge // 4) ** 2, 1),
        )

    def turns(self) -> Sequence[Turn]:
        shapes = self.drawing_noise
        critic, maker = list(self.discriminator.parameters()), list(self.generator.parameters())
        return [
            Turn("discriminator", critic, ("total", "real", "made"), shapes, shapes),
            Turn("generator", maker, ("total",), shapes, shapes, steps=3, rate=0.5, betas=(0.5, 0.999)),
        ]

    def terms(
        self, turn: str, pixels: Tensor, conditions: Conditions, noise: Noise, clock: Clock
    ) -> dict[str, Tensor]:
        made = self.generator(noise[0], self.generator.condition_encoder(conditions))
        if turn == "generator":
            return {"total": (self.discriminator(made) - 1).square().mean()}
        real, fake = (
            (self.discriminator(pixels) - 1).square().mean(),
            self.discriminator(made.detach()).square().mean(),
        )
        return {"total": (real + fake) / 2, "real": real, "made": fake}

    @property
    def drawing_noise(self) -> Shapes:
        return self.generator.drawing_noise

    def draw(self, noise: Noise, conditions: Conditions, guidance: float | Guidance = 1) -> Tensor:
        return self.generator.draw(noise, conditions, guidance)


FAMILY = Family(
    "toy-gan",
    ToyConfig,
    lambda options, image, schema, loss: ToyGan(options, image, schema),
    {"toy-gan": PRESETS["toy"]},
)
