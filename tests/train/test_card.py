"""The card of a run: written at its end, completed by an evaluation, and nothing in it that identifies."""

import re
from pathlib import Path

import numpy as np
import pytest

import nlbs
from nlbs.errors import NlbsError
from nlbs.evaluate.cli import main as evaluate
from nlbs.models.card import verdict_of
from nlbs.shards import open_shards
from nlbs.train import card as card_module
from nlbs.train.cli import main as train
from tests.shards.conftest import make_shard_set
from tests.train.conftest import guide_command

SMALL = """
model:
  latent_dim: 4
  encoder: {channels: [8, 16]}
  decoder: {channels: [16, 8, 1], use_skip_connections: false}
training: {epochs: 2}
data: {resolution: 32, batch_size: 16, where: "cancer is not null"}
"""
PATCHES = 96


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 12 patients with 8 patches each, half of them to learn from."""
    turn = ("train", "train", "val", "test")
    columns = {
        "split": [turn[row // 8 % 4] for row in range(PATCHES)],
        "cancer": [row % 2 for row in range(PATCHES)],
    }
    folder = tmp_path_factory.mktemp("shards")
    make_shard_set(folder / "r32", PATCHES, resolution=32, columns=columns)
    return folder / "r32"


@pytest.fixture
def command(shards: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "small.yaml").write_text(SMALL)
    return [str(word) for word in guide_command(shards, tmp_path / "small.yaml", tmp_path / "run")]


def call(main: object, *words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])  # type: ignore[operator]
    return int(left.value.code or 0)


def test_a_run_writes_its_card_and_an_evaluation_completes_it(
    command: list[str], shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(train, *command) == 0
    path = tmp_path / "run" / "README.md"
    assert f"model card: {path}" in capsys.readouterr().out
    text = path.read_text()
    assert f"| shard set {open_shards(shards).dataset_id} | generation 1 |" in text
    for row in (
        "| its train split | 48 patches of 12 images of 6 patients |",
        "| its val split | 24 patches of 6 images of 3 patients |",
        "| its test split | 24 patches of 6 images of 3 patients |",
        "| filter | cancer is not null |",
        "| view | categorical | CC, MLO |",
        "| preset | guide; config.yaml has every option |",
        "| patches seen | 96 |",
        "| epochs | 2 of 2, steps 6 |",
    ):
        assert row in text
    path.write_text(text.replace("## Licence", "My words.\n\n## Licence"))
    only = ("--only", "realism,memorisation", "--extractor", "random-convolutions", "--device", "cpu")
    out = ("--shards", shards, "--out", tmp_path / "report")
    assert call(evaluate, "--checkpoint", tmp_path / "run", *out, *only) == 0
    assert f"model card: {path}" in capsys.readouterr().out
    text = path.read_text()
    assert verdict_of(text) == "not proven"
    assert "| patches | 24 patches of 3 patients, split test |" in text
    assert "| shard set | that of training |" in text
    assert re.search(r"\| \d\.\d+ \\\[\d\.\d+, \d\.\d+\\\] \|", text)  # an interval
    assert "My words." in text
    # Neither a place on this machine nor a patient or an image, which are keyed digests.
    manifest = open_shards(shards).manifest
    names = [str(tmp_path), str(shards.parent), *manifest["patient"].unique().to_pylist()]
    assert [name for name in [*names, *manifest["image"].unique().to_pylist()] if name in text] == []
    assert call(train, *command) == 0  # it is finished; the figures are of its weights, and stay
    assert path.read_text() == text
    saved = nlbs.Generator.from_pretrained(tmp_path / "run", "cpu").save_pretrained(tmp_path / "copy")
    assert (saved / "README.md").read_text() == text
    assert call(train, *command, "--epochs", "3") == 0
    assert verdict_of(path.read_text()) == "not audited"
    drawn = nlbs.Generator.from_pretrained(saved, "cpu").draw(view="CC", cancer=False, n=2)
    assert np.ptp(drawn.images) > 0


def test_a_card_that_cannot_be_written_fails_no_run(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise NlbsError("the disk is full")

    monkeypatch.setattr(card_module, "update_card", full)
    assert call(train, *command, "--max-steps", "1") == 0
    assert "the model card was not written: the disk is full" in capsys.readouterr().out
    assert not (tmp_path / "run" / "README.md").exists()
