"""nlbs-generate as a user calls it."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nlbs.cvae import ConditionalVAE
from nlbs.cvae.checkpoint import save_checkpoint
from nlbs.cvae.config import DecoderConfig, EncoderConfig, ModelConfig
from tests.conftest import run_command


def make_checkpoint(path: Path, skips: bool = False) -> Path:
    torch.manual_seed(0)
    config = ModelConfig(
        latent_dim=8,
        condition_embed_dim=16,
        encoder=EncoderConfig(channels=(8, 16)),
        decoder=DecoderConfig(channels=(16, 8, 1), use_skip_connections=skips),
    )
    save_checkpoint(path, ConditionalVAE(config, 32), {})
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("run") / "best_model.safetensors")


def test_it_writes_pngs_a_contact_sheet_and_a_table_that_say_they_are_synthetic(
    checkpoint: Path, tmp_path: Path
) -> None:
    done = run_command(
        *("generate", "--checkpoint", checkpoint, "--view", "CC", "--laterality", "L", "--age", "66"),
        *("--cancer", "yes", "--false-positive", "no", "--num", "18", "--out", tmp_path / "samples"),
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "samples" / "samples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18
    assert {
        (row["view"], row["laterality"], row["age_bin"], row["cancer"], row["false_positive"]) for row in rows
    } == {("CC", "L", ">65", "yes", "no")}
    for row in rows:
        with Image.open(tmp_path / "samples" / row["file"]) as image:
            assert image.mode == "L"
            assert image.size == (32, 32)
            text = image.text  # type: ignore[attr-defined]
        assert text["Synthetic"] == "yes"
        assert (text["View"], text["Age Bin"], text["Seed"], text["Index"]) == (
            "CC",
            ">65",
            "0",
            row["index"],
        )
        assert text["Model"] == row["model"]
    assert (tmp_path / "samples" / "contact_sheet.png").exists()
    pngs = {path.name for path in (tmp_path / "samples").glob("synthetic-*.png")}
    assert pngs == {row["file"] for row in rows}


def test_a_condition_left_out_is_unknown_in_the_table(checkpoint: Path, tmp_path: Path) -> None:
    done = run_command("generate", "--checkpoint", checkpoint, "--num", "1", "--out", tmp_path / "s")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "s" / "samples.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert [row[name] for name in ("view", "laterality", "age_bin", "cancer", "false_positive")] == [""] * 5


def test_the_same_call_gives_the_same_pixels_and_no_silent_overwriting(
    checkpoint: Path, tmp_path: Path
) -> None:
    call = ("generate", "--checkpoint", checkpoint, "--num", "2", "--seed", "5", "--out")
    assert run_command(*call, tmp_path / "a").returncode == 0
    refused = run_command(*call, tmp_path / "a")
    assert refused.returncode == 1
    assert "--overwrite" in refused.stderr
    assert run_command(*call, tmp_path / "b").returncode == 0
    for name in ("synthetic-000000.png", "synthetic-000001.png"):
        with Image.open(tmp_path / "a" / name) as first, Image.open(tmp_path / "b" / name) as second:
            np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def test_a_model_with_skips_is_said_to_be_out_of_its_training(checkpoint: Path, tmp_path: Path) -> None:
    with_skips = make_checkpoint(tmp_path / "skips.safetensors", skips=True)
    done = run_command("generate", "--checkpoint", with_skips, "--num", "1", "--out", tmp_path / "s")
    assert done.returncode == 0, done.stderr
    assert "never saw in training" in done.stdout
    without = run_command("generate", "--checkpoint", checkpoint, "--num", "1", "--out", tmp_path / "t")
    assert "never saw" not in without.stdout


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--view", "sideways"), 2, "'sideways' is not a view"),
        (("--view", "XCCL"), 1, "a model knows CC and MLO"),
        (("--age", "200"), 2, "200 years is not possible"),
        (("--cancer", "perhaps"), 2, "neither yes nor no"),
        (("--num", "0"), 2, "--num"),
    ],
)
def test_a_condition_that_does_not_exist_is_an_error(
    options: tuple[str, str], code: int, says: str, checkpoint: Path, tmp_path: Path
) -> None:
    done = run_command("generate", "--checkpoint", checkpoint, "--out", tmp_path / "s", *options)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "s").exists()


def test_a_checkpoint_that_is_none_is_an_error_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no weights")
    for path in (tmp_path / "missing.safetensors", tmp_path / "text.safetensors", tmp_path):
        done = run_command("generate", "--checkpoint", path, "--out", tmp_path / "s")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert done.stderr.count("\n") == 1
