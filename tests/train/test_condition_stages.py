"""Conditions told in stages: what a model sees at each share of a run, and how that is said, kept and continued."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nlbs.cvae import ConditionalVAE, read_metadata
from nlbs.errors import ConfigError
from nlbs.manifests.schema import NLBS, Condition, Schema
from nlbs.train.condition_stages import count_told, met
from nlbs.train.config import with_conditions
from nlbs.train.run_folder import Progress
from tests.conftest import some
from tests.train.conftest import tiny_config
from tests.train.test_loop import metrics, train, weights

FINDINGS = Condition("findings", "multilabel", tuple(f"finding {number}" for number in range(14)))
#: 15 steps: five each.
STAGES = {"condition_stages": [1, 2, 5], "null_token_rate": 0.0}


def test_each_number_is_told_for_an_equal_share_of_the_epochs() -> None:
    config = tiny_config(training={"epochs": 4, "condition_stages": [2, 4, 8, 14]})
    told = [count_told(config, step, 7) for step in range(28)]
    assert told == [2] * 7 + [4] * 7 + [8] * 7 + [14] * 7
    uneven = Counter(count_told(config, step, 5) for step in range(20))
    assert uneven == {2: 5, 4: 5, 8: 5, 14: 5}
    assert count_told(config, 10**6, 5) == 14
    assert count_told(tiny_config(), 0, 5) == 5


def seen_by_the_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **training: Any
) -> list[dict[str, Tensor]]:
    """Return the conditions of each step of a run."""
    seen: list[dict[str, Tensor]] = []

    class Recording(ConditionalVAE):
        def forward(self, pixels: Any, conditions: Any, noise: Any = None) -> Any:
            if self.training:
                seen.append(conditions)
            return super().forward(pixels, conditions, noise)

    monkeypatch.setattr("nlbs.cvae.model.ConditionalVAE", Recording)
    train(folder, training=training)
    return seen


def test_the_model_sees_the_conditions_of_the_stage_and_the_others_as_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = seen_by_the_model(tmp_path / "staged", monkeypatch, **STAGES)
    whole = seen_by_the_model(tmp_path / "whole", monkeypatch)
    assert len(staged) == len(whole) == 15
    for step, (found, given) in enumerate(zip(staged, whole, strict=True)):
        known = (1, 2, 5)[step // 5]
        for place, name in some(enumerate(NLBS.names)):
            expected = given[name] if place < known else torch.full_like(given[name], -1)
            assert torch.equal(found[name], expected), (step, name)
    assert any(bool((given["cancer"] != -1).any()) for given in whole)


def test_a_run_stopped_within_a_stage_continues_to_the_bit_and_says_each_stage_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "whole", training=STAGES)
    said = capsys.readouterr().out
    assert "conditions: 1, then 2, then 5 of 5 told, each for as many epochs" in said
    assert re.findall(r"epoch (\d)/3, .*, conditions_told (\d),", said) == [
        ("1", "1"),
        ("2", "2"),
        ("3", "5"),
    ]
    assert "conditions: 1 of 5 told from step 1 on, new view\n" in said
    assert "conditions: 5 of 5 told from step 11 on, new age bin, cancer, false positive" in said
    for stop in (7, 10):
        train(tmp_path / "parts", training={**STAGES, "max_steps": stop})
    train(tmp_path / "parts", training=STAGES)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    for run in ("whole", "parts"):
        rows = metrics(tmp_path / run, "conditions")
        assert [(row["step"], row["conditions_told"]) for row in rows] == [(1, 1), (6, 2), (11, 5)]
        told = [row["conditions_told"] for row in metrics(tmp_path / run, "train")]
        assert told == [1] * 5 + [2] * 5 + [5] * 5
    with pytest.raises(ConfigError, match=r"trained with training.condition_stages"):
        train(tmp_path / "parts")


def test_a_checkpoint_says_what_it_was_told_so_far(tmp_path: Path) -> None:
    train(tmp_path, training={**STAGES, "max_steps": 8})
    early = read_metadata(tmp_path / "last_model.safetensors")["training"]["conditions"]
    assert early["view"] == [-1, 0, 1]
    assert early["cancer"] == early["age_bin"] == [-1]
    train(tmp_path, training=STAGES)
    whole = read_metadata(tmp_path / "last_model.safetensors")["training"]["conditions"]
    assert whole["cancer"] == [-1, 0, 1]


def test_of_labels_those_were_met_that_were_told() -> None:
    conditions = {"data": {"conditions": (NLBS["view"], FINDINGS)}}
    config = tiny_config(training={"epochs": 3, "condition_stages": [1, 5, 15]}, **conditions)
    codes = {"view": [0, 1], "findings": [0, 3, 4, 13]}
    assert met(codes, config, 0, 1) == {"view": [0, 1], "findings": [-1]}
    assert met(codes, config, 1, 1) == {"view": [0, 1], "findings": [-1, 0, 3]}
    assert met(codes, config, 2, 1) == {"view": [0, 1], "findings": [-1, 0, 3, 4, 13]}


class Shards:
    """A shard set that has the column findings."""

    channels = 1

    def schema(self, names: list[str]) -> Schema:
        return Schema((FINDINGS if names == ["findings"] else NLBS[names[0]],))


def test_the_last_stage_tells_all_conditions_and_each_label_of_several_counts() -> None:
    training = {"condition_stages": [2, 4, 8, 14]}
    config = tiny_config(training=training, data={"conditions": ["findings"]})
    assert with_conditions(config, Shards()).schema.parts == FINDINGS.values
    message = r"ends at 14, and the model is told 15 conditions .*: view, finding 0, .*; end at 15, or choose others"
    with pytest.raises(ConfigError, match=message):
        with_conditions(tiny_config(training=training, data={"conditions": ["view", "findings"]}), Shards())
    with pytest.raises(
        ConfigError, match=r"ends at 4, and the model is told 5 .*age bin, cancer, false positive"
    ):
        with_conditions(tiny_config(training={"condition_stages": [2, 4]}), Shards())


def test_patience_begins_with_the_last_stage() -> None:
    stopping = {"epochs": 9, "early_stop_epochs": 2, "condition_stages": [1, 2, 5]}
    config = tiny_config(training=stopping)
    assert not Progress(5, epoch=7, best_epoch=1).is_finished(config)
    assert Progress(5, epoch=8, best_epoch=1).is_finished(config)
    assert not Progress(5, epoch=8, best_epoch=7).is_finished(config)
