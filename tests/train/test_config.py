from pathlib import Path

import pytest

from nlbs.config import read_yaml, write_yaml
from nlbs.errors import ConfigError
from nlbs.train.config import (
    check_against_shards,
    preset,
    resolved_config,
    train_config,
    without_mirroring,
)

NAMES = ("guide", "guide-small", "nlbs", "nlbs-small")

GUIDE_YAML = """
# Model architecture
model:
  latent_dim: 256
  condition_embed_dim: 128
  encoder:
    channels: [64, 128, 256, 512]
    use_group_norm: true
    groups: 8
  decoder:
    channels: [512, 256, 128, 64, 1]
    use_skip_connections: true

# Training parameters
training:
  optimizer: "adam"
  learning_rate: 1e-4
  loss:
    reconstruction_weight: 1.0
    kl_weight: 1.0
    edge_weight: 0.1
    kl_anneal_epochs: 20

# Data processing
data:
  resolution: 256
  patch_stride: 512
  min_foreground_frac: 0.1
  batch_size: 4
"""
FOUND = {"resolution": 256, "stride": 512, "min_foreground": 0.1}


def written(folder: Path, text: str) -> Path:
    path = folder / "training_config.yaml"
    path.write_text(text)
    return path


def test_the_guides_own_yaml_changes_nothing_but_the_patches_it_names(tmp_path: Path) -> None:
    config = resolved_config("guide", written(tmp_path, GUIDE_YAML), {})
    assert config.model == preset("guide").model
    assert config.training == preset("guide").training
    assert config.training.learning_rate == 1e-4  # PyYAML reads 1e-4 as text
    assert (config.data.patch_stride, config.data.min_foreground_frac) == (512, 0.1)


def test_the_guide_preset_has_the_guides_optimiser() -> None:
    training = preset("guide").training
    assert (training.learning_rate, training.min_learning_rate) == (1e-4, 1e-6)
    assert training.betas == (0.9, 0.999)
    assert training.weight_decay == 1e-5
    assert training.max_grad_norm == 1.0
    assert training.epochs == 100
    assert preset("guide").data.batch_size == 4


def test_flags_go_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    path = written(tmp_path, "training: {seed: 5, learning_rate: 0.01}\ndata: {batch_size: 16}")
    config = resolved_config("guide-small", path, {"training": {"learning_rate": 0.02}})
    assert (config.training.seed, config.training.learning_rate, config.data.batch_size) == (5, 0.02, 16)
    assert config.training.epochs == preset("guide-small").training.epochs


@pytest.mark.parametrize("name", NAMES)
def test_the_resolved_configuration_is_read_back_from_its_yaml(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, write_yaml(preset(name)))
    assert train_config(read_yaml(path), "test") == preset(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "training: {learning_rte: 1}",
            r"training_config.yaml: unknown key 'training.learning_rte', did you mean",
        ),
        ("trainig: {}", "unknown key 'trainig', did you mean 'training'"),
        ("training: {loss: {kl_wieght: 1}}", "did you mean 'kl_weight'"),
        ("training: {optimizer: sgd}", "'training.optimizer' is 'sgd': input should be 'adam'"),
        ("training: {epochs: 0}", "'training.epochs' is 0"),
        ("training: {learning_rate: .nan}", "'training.learning_rate' is nan"),
        ("data: {fit: squeeze}", "'data.fit' is 'squeeze'"),
        ("data: {resolution: 250}", "multiple of 16"),
        ("family: cvea", r"training_config.yaml: there is no family of models 'cvea'; did you mean 'cvae'"),
        ("training: {learning_rate: 1e-7}", "min_learning_rate .* is above"),
        (
            "training: {condition_stages: [2, 2, 5]}",
            r"condition_stages is \[2, 2, 5\]; expected numbers that rise",
        ),
        ("training: {condition_stages: [0, 5]}", "'training.condition_stages.0' is 0"),
        ("training: !!python/object/apply:os.system [ls]", "cannot read the configuration"),
        ("- a list", "holds no mapping"),
    ],
)
def test_a_file_that_makes_no_sense_is_explained(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolved_config("guide", written(tmp_path, text), {})


def test_a_file_that_names_no_family_is_of_the_first(tmp_path: Path) -> None:
    text = write_yaml(preset("nlbs"))
    assert text.startswith("family: cvae\n")
    before = written(tmp_path, text.removeprefix("family: cvae\n"))
    assert resolved_config("nlbs", before, {}) == preset("nlbs")


def test_an_unknown_preset_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no preset 'auot'; did you mean 'auto'"):
        resolved_config("auot", None, {})
    with pytest.raises(ConfigError, match="no preset 'guide-smal'; did you mean 'guide-small'"):
        resolved_config("guide-smal", None, {})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "patch_stride",
            256,
            "data.patch_stride is 256, but the shard set S was cut with stride 512.*--stride 256",
        ),
        ("min_foreground_frac", 0.2, "is 0.2, but .* min_foreground 0.1.*--min-foreground 0.2"),
    ],
)
def test_patches_other_than_asked_for_are_refused(key: str, value: float, message: str) -> None:
    config = resolved_config("guide", None, {"data": {key: value}})
    with pytest.raises(ConfigError, match=message):
        check_against_shards(config, FOUND, "S")
    check_against_shards(config, FOUND | {"stride": 256, "min_foreground": 0.2}, "S")


def test_bodies_are_not_mirrored_and_breasts_and_tissue_are() -> None:
    config = preset("guide-small")
    assert config.training.augment.horizontal_flip == 0.5
    assert without_mirroring(config, [{}, {"foreground": "tissue"}]) == config
    for foreground in ("body", "none"):
        of_body = without_mirroring(config, [{}, {"foreground": foreground}])
        assert of_body.training.augment.horizontal_flip == 0
        assert of_body.training.augment.rotation_deg == config.training.augment.rotation_deg


def test_patches_smaller_than_the_model_are_refused() -> None:
    with pytest.raises(ConfigError, match="patches of 128 x 128, smaller than the model's 256 x 256"):
        check_against_shards(preset("guide"), FOUND | {"resolution": 128}, "S")
    check_against_shards(preset("guide-small"), FOUND | {"resolution": 128}, "S")


def test_what_earlier_versions_wrote_and_nobody_asked_for_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("mixture: null\ntraining: {sharpening: null, epochs: 7}\n")
    assert resolved_config("nlbs-small", path, {}).training.epochs == 7


@pytest.mark.parametrize("text", ["mixture: {components: 3}\n", "training: {sharpening: {start: 0.5}}\n"])
def test_what_is_no_longer_there_is_refused_where_it_was_asked_for(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="no longer has"):
        resolved_config("nlbs-small", path, {})
