"""One evaluation: a model, real patches of both kinds, and what the sections of the report share."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nlbs.evaluate.measures.arrays import Patches
from nlbs.evaluate.measures.classifier import ConditionClassifier, Recipe, train_classifier
from nlbs.evaluate.measures.features import FeatureExtractor
from nlbs.evaluate.measures.model_view import Encoded, as_floats, encode
from nlbs.evaluate.real_patches import RealPatches
from nlbs.models.contract import Bounds, GenerativeModel, Reconstructs
from nlbs.models.drawing import Codes, Grain, Sampler, draw_noise, draw_patches, to_uint8
from nlbs.shards.format.payload import patch_shape

MEANS_OF = 1000  #: patches whose latents are kept


@dataclass(frozen=True)
class Study:
    """What is judged, and against what. Expensive things are made once, when the first section asks."""

    model: GenerativeModel
    sampler: Sampler
    train: RealPatches  #: of the split that the model learnt from
    held_out: RealPatches  #: of other patients
    extractor: FeatureExtractor | None  #: None: distances are left out
    no_extractor: str = ""  #: why
    seed: int = 0
    read_all_train: Callable[[], RealPatches] | None = (
        None  #: more of them, for what asks; None: there are no more
    )
    train_total: int = 0  #: how many training patches there are
    recipe: Recipe | None = None  #: of classifiers; None: the usual one
    say: Callable[[str], None] = lambda line: None
    shows: str = "breast"  #: what of an image its patches are, in a word
    #: What was made of the real patches alone, for studies of other models of the same patches.
    of_real: dict[Any, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def rebuilds(self) -> bool:
        """Whether the model rebuilds images at all; otherwise :attr:`encoded` raises EvaluationError."""
        return isinstance(self.model, Bounds | Reconstructs)

    @cached_property
    def all_train(self) -> RealPatches:
        """All training patches, as far as memory should hold them."""
        return self.train if self.read_all_train is None else self.read_all_train()

    def features(self, kind: str) -> npt.NDArray[np.float32]:
        """Return the features (n, d) of "train", "held_out", "reconstructed", "without_grain" or "drawn" patches."""
        known = self.of_real if kind in ("train", "held_out") else self._features
        if kind not in known and self.extractor is not None:
            pixels = self._pixels(kind)
            words = kind.replace("_", "-")
            self.say(f"features of {len(pixels):,} {words} patches by {self.extractor.name}")
            known[kind] = self.extractor(pixels)
        features: npt.NDArray[np.float32] = known[kind]
        return features

    def _pixels(self, kind: str) -> Patches:
        if kind == "drawn":
            return self.drawn
        if kind == "reconstructed":
            return self.rebuilt
        if kind == "without_grain":
            return self.encoded.reconstructed
        return (self.train if kind == "train" else self.held_out).pixels

    @cached_property
    def _features(self) -> dict[str, npt.NDArray[np.float32]]:
        return {}

    def draw(self, conditions: Codes, seed: int) -> Patches:
        """Return drawn patches, uint8 (n, R, R) or (n, R, R, 3), one for each of the conditions."""
        count = len(next(iter(conditions.values())))
        self.say(f"drawing {count:,} patches")
        found = np.empty((count, *patch_shape(self.model.resolution, self.model.image.channels)), np.uint8)
        for place, patch in enumerate(draw_patches(self.sampler, conditions, seed)):
            found[place] = patch
        return found

    @cached_property
    def drawn(self) -> Patches:
        """Patches drawn by the conditions of the held-out ones, uint8 (n, R, R)."""
        return self.draw(self.held_out.conditions, self.seed)

    @cached_property
    def drawn_like_train(self) -> Patches:
        """Patches drawn by the conditions of the training ones, with noise of their own, uint8 (m, R, R)."""
        return self.draw(self.train.conditions, self.seed + 1)

    @cached_property
    def encoded(self) -> Encoded:
        """What the model makes of the held-out patches."""
        self.say(f"encoding {len(self.held_out):,} held-out patches")
        return encode(self.model, self.held_out.pixels, self.held_out.conditions, MEANS_OF)

    @cached_property
    def grain(self) -> Grain | None:
        """The grain that draws have, if they have one."""
        return self.sampler.grain

    @cached_property
    def rebuilt(self) -> Patches:
        """The reconstructions of the held-out patches, with the grain of draws: like is compared with like."""
        smooth = self.encoded.reconstructed
        if self.grain is None:
            return smooth
        found = np.empty_like(smooth)
        for place, patch in enumerate(smooth):
            rendered = as_floats(patch[None], self.device)
            noise = torch.from_numpy(draw_noise(self.seed, place, [self.grain.noise_shape])[0])
            found[place] = to_uint8(self.grain(rendered, noise[None].to(self.device)))[0]
        return found

    @cached_property
    def encoded_train(self) -> Encoded:
        """What the model makes of the training patches."""
        self.say(f"encoding {len(self.train):,} training patches")
        return encode(self.model, self.train.pixels, self.train.conditions)

    @cached_property
    def on_real(self) -> ConditionClassifier:
        """A classifier that learnt from all real training patches: what they show at all."""
        schema = self.model.schema
        if schema not in self.of_real:
            self.of_real[schema] = self._classifier(self.all_train, "real")
        classifier: ConditionClassifier = self.of_real[schema]
        return classifier

    @cached_property
    def on_few_real(self) -> ConditionClassifier:
        """A classifier that learnt from as many real training patches as are drawn for another one."""
        return self._classifier(self.train, "real")

    @cached_property
    def on_synthetic(self) -> ConditionClassifier:
        """A classifier that learnt from as many synthetic ones."""
        return self._classifier(replace(self.train, pixels=self.drawn_like_train), "synthetic")

    def _classifier(self, patches: RealPatches, kind: str) -> ConditionClassifier:
        self.say(f"training a classifier on {len(patches):,} {kind} patches")
        recipe, schema = self.recipe or Recipe.of(len(patches)), self.model.schema
        return train_classifier(patches.pixels, patches.conditions, schema, self.seed, self.device, recipe)
