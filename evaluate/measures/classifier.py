"""A small network that reads the conditions off a patch. It shares nothing with the features of any distance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from nlbs.evaluate.measures.model_view import as_floats
from nlbs.evaluate.measures.targets import Target, Values, targets_of
from nlbs.manifests.conditions import UNKNOWN
from nlbs.manifests.schema import Schema
from nlbs.models.drawing import Codes

Images = npt.NDArray[np.uint8]

_WIDTHS = (16, 32, 64, 64)  #: of the blocks; further blocks, of larger images, have the last
_GROUPS = 8
_PLACES = 4  #: the last map is so many places high and wide
_AT_ONCE = 256
_MOST_STEPS = 5000  #: beyond, a phantom's patches show no more


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained."""

    steps: int = 1200
    batch_size: int = 64
    learning_rate: float = 2e-3  #: at the start of the cosine
    weight_decay: float = 0.05
    shift: float = 1 / 16  #: of the edge, up to which a training patch is moved, either way

    @classmethod
    def of(cls, patches: int) -> "Recipe":
        """Return the usual recipe for so many training patches: five times over, within bounds."""
        return cls(steps=min(max(5 * patches // cls.batch_size, cls.steps), _MOST_STEPS))


class ConditionNet(nn.Module):
    """Stride-2 convolutions down to 4 x 4 places, whose features one linear layer per target reads."""

    def __init__(self, channels: int, resolution: int, targets: Sequence[Target]) -> None:
        super().__init__()
        self.targets = targets
        blocks: list[nn.Module] = []
        width, edge = channels, resolution
        while edge > _PLACES:
            next_width = _WIDTHS[min(len(blocks) // 3, len(_WIDTHS) - 1)]
            blocks += [nn.Conv2d(width, next_width, 3, 2, 1), nn.GroupNorm(_GROUPS, next_width), nn.SiLU()]
            width, edge = next_width, -(-edge // 2)
        self.body = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(_PLACES), nn.Flatten(), nn.Dropout(0.3))
        outputs = [len(target.values) or 1 for target in targets]
        self.heads = nn.ModuleList(nn.Linear(width * _PLACES**2, count) for count in outputs)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the logits, (B, values), or a number, (B, 1), of each target; of pixels (B, C, R, R) in [-1, 1]."""
        features = self.body(pixels)
        return [head(features) for head in self.heads]


class ConditionClassifier:
    """A trained network, in eval mode."""

    def __init__(self, net: ConditionNet, targets: Sequence[Target], unlearnt: Mapping[str, str]) -> None:
        self._net, self._device = net.eval(), next(net.body.parameters()).device
        self.targets = tuple(targets)  #: of the schema, those that could not be learnt among them
        self.unlearnt = dict(unlearnt)  #: name of a target -> why it could not be learnt

    def readings(self, pixels: Images) -> dict[str, npt.NDArray[np.float64]]:
        """Return by the names of the targets that were learnt the probability of each value, (n, values).

        Of a number it is the number as it is read, (n, 1), in deviations from the mean of training.

        Args:
            pixels: uint8, (n, R, R) or (n, R, R, 3), as in training.
        """
        parts: dict[str, list[Tensor]] = {target.name: [] for target in self._net.targets}
        with torch.no_grad():
            for start in range(0, len(pixels), _AT_ONCE):
                outputs = self._net(as_floats(pixels[start : start + _AT_ONCE], self._device))
                for target, output in zip(self._net.targets, outputs, strict=True):
                    wide = output.double()
                    found = wide if target.is_number else functional.softmax(wide, dim=1)
                    parts[target.name].append(found.cpu())
        return {name: torch.cat(values).numpy() for name, values in parts.items()}


def train_classifier(
    pixels: Images,
    conditions: Codes,
    schema: Schema,
    seed: int,
    device: torch.device | str = "cpu",
    recipe: Recipe | None = None,
) -> ConditionClassifier:
    """Train a classifier from scratch; the same arguments give the same one on the same device.

    Args:
        pixels: uint8, (n, R, R) or (n, R, R, 3), at least one.
        conditions: of each, as :mod:`nlbs.manifests.schema` says; unknown ones teach nothing.
        schema: which conditions it learns: a head for each code, label and number.
        seed: of the weights, the order and the shifts.
        device: where it runs.
        recipe: how long, and how; None: the usual one for so many patches.

    Returns:
        It knows the targets of which at least two values occur.
    """
    recipe, device = recipe or Recipe.of(len(pixels)), torch.device(device)
    targets = targets_of(schema)
    unlearnt = {target.name: why for target in targets if (why := _why_not(target, target.of(conditions)))}
    learnt = [target for target in targets if target.name not in unlearnt]
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        channels = 1 if pixels.ndim == 3 else pixels.shape[3]
        net = ConditionNet(channels, pixels.shape[1], learnt).to(device)
        if learnt:
            _fit(net, pixels, [_goals(target, target.of(conditions)) for target in learnt], seed, recipe)
    return ConditionClassifier(net, targets, unlearnt)


def _fit(net: ConditionNet, pixels: Images, goals: Sequence[Values], seed: int, recipe: Recipe) -> None:
    generator, device = np.random.default_rng(seed), next(net.parameters()).device
    weights = [
        torch.ones(0) if target.is_number else _class_weights(goal, len(target.values)).to(device)
        for target, goal in zip(net.targets, goals, strict=True)
    ]
    optimizer = torch.optim.AdamW(net.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    places = np.empty(0, np.int64)
    net.train()
    for _ in range(recipe.steps):
        while len(places) < recipe.batch_size:
            places = np.concatenate([places, generator.permutation(len(pixels))])
        batch, places = places[: recipe.batch_size], places[recipe.batch_size :]
        images = _shifted(pixels[batch], round(recipe.shift * pixels.shape[1]), generator)
        loss = torch.zeros((), device=device)
        for target, output, goal, weight in zip(
            net.targets, net(as_floats(images, device)), goals, weights, strict=True
        ):
            if target.known(goal[batch]).any():
                wanted = torch.from_numpy(goal[batch]).to(device)
                loss = loss + (
                    _error(output, wanted) if target.is_number else _entropy(output, wanted, weight)
                )
        if loss.requires_grad:
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()


def _entropy(logits: Tensor, codes: Tensor, weights: Tensor) -> Tensor:
    return functional.cross_entropy(logits, codes, weights, ignore_index=UNKNOWN)


def _error(numbers: Tensor, goals: Tensor) -> Tensor:
    known = ~goals.isnan()
    return functional.mse_loss(numbers[known, 0], goals[known])


def _why_not(target: Target, values: Values) -> str:
    """Return why a target cannot be learnt; nothing where it can."""
    values = np.unique(values[target.known(values)])
    if len(values) >= 2:
        return ""
    return (
        "it is unknown of every training patch"
        if not len(values)
        else "all training patches have the same value"
    )


def _goals(target: Target, values: Values) -> Values:
    """Return what a head learns: codes as they are, numbers in deviations from their mean, float32."""
    if not target.is_number:
        return values
    goals: Values = ((values - np.nanmean(values)) / np.nanstd(values)).astype(np.float32)
    return goals


def _class_weights(codes: npt.NDArray[np.int64], count: int) -> Tensor:
    """Return frequency^-0.5 of each value: rare ones are heard, and single patches do not rule."""
    counts = np.bincount(codes[codes != UNKNOWN], minlength=count)
    weights = np.where(counts > 0, np.maximum(counts, 1) ** -0.5, 0)
    return torch.from_numpy(weights / weights.max()).float()


def _shifted(pixels: Images, most: int, generator: np.random.Generator) -> Images:
    """Return the patches moved by up to ``most`` pixels each way, what comes in being mirrored."""
    if not most:
        return pixels
    edge = pixels.shape[1]
    sides = [(0, 0), (most, most), (most, most), (0, 0)]
    padded = np.pad(pixels, sides[: pixels.ndim], mode="reflect")
    starts = generator.integers(0, 2 * most + 1, (len(pixels), 2))
    along = np.arange(edge)
    y, x = starts[:, 0, None] + along, starts[:, 1, None] + along
    moved: Images = padded[np.arange(len(pixels))[:, None, None], y[:, :, None], x[:, None, :]]
    return moved
