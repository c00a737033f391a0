"""Configurations of the conditional VAE.

Also covers: cvae/family.py.
"""

import pytest
import yaml

from nlbs.config import from_mapping
from nlbs.cvae.config import MODEL_PRESETS, ModelConfig, model_preset
from nlbs.errors import ConfigError

GUIDE_YAML = """
latent_dim: 256
condition_embed_dim: 128
encoder:
  channels: [64, 128, 256, 512]
  use_group_norm: true
  groups: 8
decoder:
  channels: [512, 256, 128, 64, 1]
  use_skip_connections: true
"""


def test_the_guide_preset_is_what_the_guide_prints() -> None:
    model, resolution = MODEL_PRESETS["guide"]
    assert from_mapping(ModelConfig, yaml.safe_load(GUIDE_YAML), "the guide") == model
    assert resolution == 256
    assert model.use_posterior_bias
    assert not model.decoder.film_starts_neutral


def test_the_small_preset_has_as_many_blocks_and_no_skips() -> None:
    model, resolution = MODEL_PRESETS["guide-small"]
    assert len(model.encoder.channels) == 4
    assert resolution == 64
    assert not model.decoder.use_skip_connections


@pytest.mark.parametrize("channels", [[512, 256, 128, 64], [64, 128, 256, 512, 1], [512, 256, 128, 64, 3]])
def test_a_decoder_that_does_not_mirror_the_encoder_is_refused(channels: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"decoder\.channels .* it is \[512, 256, 128, 64, 1\]"):
        from_mapping(ModelConfig, {"decoder": {"channels": channels}}, "test")


def test_groups_that_do_not_divide_a_width_are_refused_where_group_norm_is_used() -> None:
    odd = {"encoder": {"channels": [64, 100], "groups": 8}, "decoder": {"channels": [100, 64, 1]}}
    with pytest.raises(ConfigError, match=r"has 100, which model.encoder.groups = 8 does not divide"):
        from_mapping(ModelConfig, odd, "test")
    odd["encoder"]["use_group_norm"] = False  # type: ignore[index]
    assert from_mapping(ModelConfig, odd, "test").encoder.channels == (64, 100)


@pytest.mark.parametrize("resolution", [8, 100, 0])
def test_a_resolution_that_cannot_be_halved_four_times_is_refused(resolution: int) -> None:
    with pytest.raises(ConfigError, match="multiple of 16"):
        ModelConfig().check_resolution(resolution)
    ModelConfig().check_resolution(48)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latent_dims": 3}, "did you mean 'latent_dim'"),
        ({"encoder": {"chanels": [1]}}, "'encoder.chanels', did you mean 'channels'"),
        ({"latent_dim": 0}, "'latent_dim' is 0"),
        ({"encoder": {"channels": []}}, "encoder.channels is empty"),
    ],
)
def test_values_that_make_no_sense_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(ModelConfig, values, "test")


def test_an_unknown_preset_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no preset 'guide_small'; did you mean 'guide-small'"):
        model_preset("guide_small")
