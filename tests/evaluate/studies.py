"""A study whose sampler obeys, of a tiny model."""

import torch

from nlbs.cvae.config import DecoderConfig, EncoderConfig, ModelConfig
from nlbs.cvae.model import ConditionalVAE
from nlbs.evaluate.measures.classifier import ConditionClassifier
from nlbs.evaluate.measures.features import random_convolutions
from nlbs.evaluate.study import Study
from tests.evaluate.conftest import QUICK
from tests.evaluate.made_up import EDGE, SignSampler, signed_patches

SMALL = ModelConfig(
    latent_dim=4,
    condition_embed_dim=6,
    encoder=EncoderConfig(channels=(8, 16)),
    decoder=DecoderConfig(channels=(16, 8, 1), use_skip_connections=False),
)


def obedient_study(classifier: ConditionClassifier) -> Study:
    torch.manual_seed(0)
    model = ConditionalVAE(SMALL, EDGE).eval()
    train, held_out = signed_patches(600, seed=1), signed_patches(300, seed=2)
    study = Study(model, SignSampler(["laterality"]), train, held_out, random_convolutions(), recipe=QUICK)
    study.__dict__["on_real"] = study.__dict__["on_few_real"] = classifier  # trained on just these patches
    return study
