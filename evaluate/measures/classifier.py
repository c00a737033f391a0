"""A small network that reads the conditions off a patch. It shares nothing with the features of any distance."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from nlbs.manifests.conditions import CONDITIONS, UNKNOWN

Images = npt.NDArray[np.uint8]
Codes = Mapping[str, npt.NDArray[np.int64]]

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
    """Stride-2 convolutions down to 4 x 4 places, whose features one linear layer per condition reads."""

    def __init__(self, resolution: int, names: tuple[str, ...]) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        width, edge = 1, resolution
        while edge > _PLACES:
            next_width = _WIDTHS[min(len(blocks) // 3, len(_WIDTHS) - 1)]
            blocks += [nn.Conv2d(width, next_width, 3, 2, 1), nn.GroupNorm(_GROUPS, next_width), nn.SiLU()]
            width, edge = next_width, -(-edge // 2)
        self.body = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(_PLACES), nn.Flatten(), nn.Dropout(0.3))
        self.heads = nn.ModuleDict({name: nn.Linear(width * _PLACES**2, CONDITIONS[name]) for name in names})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return the logits, (B, values) for each condition, of pixels (B, 1, R, R) in [-1, 1]."""
        features = self.body(pixels)
        return {name: head(features) for name, head in self.heads.items()}


class ConditionClassifier:
    """A trained network, in eval mode."""

    def __init__(self, net: ConditionNet, device: torch.device, unlearnt: Mapping[str, str]) -> None:
        self._net, self._device = net.eval(), device
        self.unlearnt = dict(unlearnt)  #: condition -> why it could not be learnt

    def probabilities(self, pixels: Images) -> dict[str, npt.NDArray[np.float64]]:
        """Return for each condition that was learnt the probability of each value, (n, values).

        Args:
            pixels: uint8, (n, R, R).
        """
        parts: dict[str, list[Tensor]] = {name: [] for name in self._net.heads}
        with torch.no_grad():
            for start in range(0, len(pixels), _AT_ONCE):
                logits = self._net(_floats(pixels[start : start + _AT_ONCE], self._device))
                for name, value in logits.items():
                    parts[name].append(functional.softmax(value.double(), dim=1).cpu())
        return {name: torch.cat(values).numpy() for name, values in parts.items()}


def train_classifier(
    pixels: Images,
    conditions: Codes,
    seed: int,
    device: torch.device | str = "cpu",
    recipe: Recipe | None = None,
) -> ConditionClassifier:
    """Train a classifier from scratch; the same arguments give the same one on the same device.

    Args:
        pixels: uint8, (n, R, R), at least one.
        conditions: the codes of each, (n,); unknown ones, -1, teach nothing.
        seed: of the weights, the order and the shifts.
        device: where it runs.
        recipe: how long, and how; None: the usual one for so many patches.

    Returns:
        It knows the conditions of which at least two values occur.
    """
    recipe, device = recipe or Recipe.of(len(pixels)), torch.device(device)
    unlearnt = {name: why for name in CONDITIONS if (why := _why_not(conditions[name]))}
    names = tuple(name for name in CONDITIONS if name not in unlearnt)
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        net = ConditionNet(pixels.shape[-1], names).to(device)
        if names:
            _fit(net, pixels, conditions, seed, device, recipe)
    return ConditionClassifier(net, device, unlearnt)


def _fit(
    net: ConditionNet, pixels: Images, conditions: Codes, seed: int, device: torch.device, recipe: Recipe
) -> None:
    generator = np.random.default_rng(seed)
    weights = {name: _class_weights(conditions[name], CONDITIONS[name]).to(device) for name in net.heads}
    optimizer = torch.optim.AdamW(net.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    places = np.empty(0, np.int64)
    net.train()
    for _ in range(recipe.steps):
        while len(places) < recipe.batch_size:
            places = np.concatenate([places, generator.permutation(len(pixels))])
        batch, places = places[: recipe.batch_size], places[recipe.batch_size :]
        images = _shifted(pixels[batch], round(recipe.shift * pixels.shape[-1]), generator)
        logits = net(_floats(images, device))
        loss = torch.zeros((), device=device)
        for name, value in logits.items():
            codes = torch.from_numpy(conditions[name][batch]).to(device)
            if bool((codes != UNKNOWN).any()):
                loss = loss + functional.cross_entropy(value, codes, weights[name], ignore_index=UNKNOWN)
        if loss.requires_grad:
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()


def _why_not(codes: npt.NDArray[np.int64]) -> str:
    """Return why a condition cannot be learnt; nothing where it can."""
    values = np.unique(codes[codes != UNKNOWN])
    if len(values) >= 2:
        return ""
    return (
        "it is unknown of every training patch"
        if not len(values)
        else "all training patches have the same value"
    )


def _class_weights(codes: npt.NDArray[np.int64], count: int) -> Tensor:
    """Return frequency^-0.5 of each value: rare ones are heard, and single patches do not rule."""
    counts = np.bincount(codes[codes != UNKNOWN], minlength=count)
    weights = np.where(counts > 0, np.maximum(counts, 1) ** -0.5, 0)
    return torch.from_numpy(weights / weights.max()).float()


def _shifted(pixels: Images, most: int, generator: np.random.Generator) -> Images:
    """Return the patches moved by up to ``most`` pixels each way, what comes in being mirrored."""
    if not most:
        return pixels
    edge = pixels.shape[-1]
    padded = np.pad(pixels, ((0, 0), (most, most), (most, most)), mode="reflect")
    starts = generator.integers(0, 2 * most + 1, (len(pixels), 2))
    along = np.arange(edge)
    y, x = starts[:, 0, None] + along, starts[:, 1, None] + along
    moved: Images = padded[np.arange(len(pixels))[:, None, None], y[:, :, None], x[:, None, :]]
    return moved


def _floats(pixels: Images, device: torch.device) -> Tensor:
    """Return uint8 pixels (n, R, R) as (n, 1, R, R) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).float().div(127.5).sub(1).unsqueeze(1)
