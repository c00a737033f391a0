"""Studies whose sampler obeys, for the tests of sections."""

from collections.abc import Sequence

import torch

from nlbs.cvae.config import DecoderConfig, EncoderConfig, ModelConfig
from nlbs.cvae.model import ConditionalVAE
from nlbs.evaluate.measures.classifier import ConditionClassifier
from nlbs.evaluate.measures.features import random_convolutions
from nlbs.evaluate.study import Study
from nlbs.manifests.schema import NLBS, Schema
from tests.evaluate.conftest import QUICK
from tests.evaluate.made_up import EDGE, OTHER, SignSampler, other_patches, signed_patches

SMALL = ModelConfig(
    latent_dim=4,
    condition_embed_dim=6,
    encoder=EncoderConfig(channels=(8, 16)),
    decoder=DecoderConfig(channels=(16, 8, 1), use_skip_connections=False),
)


def obedient_study(
    classifier: ConditionClassifier, ignores: Sequence[str] = ("laterality",), schema: Schema = NLBS
) -> Study:
    """Gives a study of a sampler that obeys all conditions but some.

    Args:
        classifier: trained on 600 patches of seed 1.
        ignores: these.
        schema: NLBS or OTHER.
    """
    torch.manual_seed(0)
    model, patches = (
        ConditionalVAE(SMALL, EDGE, schema=schema).eval(),
        other_patches if schema is OTHER else signed_patches,
    )
    train, held_out = patches(600, seed=1), patches(300, seed=2)
    study = Study(model, SignSampler(ignores, schema), train, held_out, random_convolutions(), recipe=QUICK)
    study.__dict__["on_real"] = study.__dict__["on_few_real"] = classifier  # trained on just these patches
    return study
