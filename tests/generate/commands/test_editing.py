"""inpaint and superresolve as a user calls them."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nlbs.manifests.schema import NLBS
from nlbs.models.checkpoint import save_checkpoint
from nlbs.models.denoiser import DiffusionModel
from nlbs.models.diffusion import DiffusionConfig
from nlbs.models.family import ImageSpec
from nlbs.shards import open_shards
from tests.generate.conftest import Generate, contents
from tests.shards.conftest import make_shard_set


@pytest.fixture(scope="session")
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = DiffusionConfig(widths=(8, 16), blocks=1, embed_dim=16, steps=4)
    model = DiffusionModel(config, ImageSpec(1, 32), NLBS)
    for parameter in model.parameters():  # fresh weights begin at 0 in places
        torch.nn.init.normal_(parameter, std=0.1)
    path = tmp_path_factory.mktemp("denoiser") / "best_model.safetensors"
    save_checkpoint(path, model, {})
    return path


@pytest.fixture
def real(tmp_path: Path) -> Path:
    make_shard_set(tmp_path / "real", patches=24, resolution=32)
    return tmp_path / "real"


def grey(path: Path) -> np.ndarray:  # type: ignore[type-arg]
    with Image.open(path) as image:
        return np.asarray(image)


def rows_in(folder: Path) -> list[dict[str, str]]:
    with (folder / "samples.csv").open(newline="") as file:
        return list(csv.DictReader(file))


QUICK = ("--sampler-steps", 3, "--passes", 2, "--num", 2)


def test_inpaint_keeps_what_lies_outside_of_the_box(
    generate: Generate, denoiser: Path, real: Path, tmp_path: Path
) -> None:
    call = ("inpaint", "--checkpoint", denoiser, "--shards", real, *QUICK)
    done = generate(*call, "--row", 3, "--row", 7, "--box", "4,8,20,30", "--out", tmp_path / "s")
    assert done.code == 0, done.err
    assert "4 patches" in done.out and "made from those of real patients" in done.out
    rows = rows_in(tmp_path / "s")
    assert [row["file"] for row in rows] == [
        f"inpainted-0000000{row}-00{number}.png" for row in (3, 7) for number in (0, 1)
    ]
    with open_shards(real) as shards:
        patches = shards.read([3, 7])
    for row in rows:
        drawn = grey(tmp_path / "s" / row["file"])
        known = patches[[3, 7].index(int(row["row"]))]
        hole = np.zeros((32, 32), bool)
        hole[8:30, 4:20] = True
        np.testing.assert_array_equal(drawn[~hole], known[~hole])
        assert (drawn[hole] != known[hole]).mean() > 0.9
    # The same call goes on, another one is refused, and replaces where it is told to.
    before = contents(tmp_path / "s")
    assert generate(*call, "--row", 3, "--row", 7, "--box", "4,8,20,30", "--out", tmp_path / "s").code == 0
    assert contents(tmp_path / "s") == before
    assert "another call" in generate(*call, "--row", 3, "--out", tmp_path / "s").err
    assert generate(*call, "--row", 3, "--overwrite", "--out", tmp_path / "s").code == 0
    assert len(rows_in(tmp_path / "s")) == 2


def test_a_draw_is_the_same_however_many_are_asked_for(
    generate: Generate, denoiser: Path, real: Path, tmp_path: Path
) -> None:
    call = ("inpaint", "--checkpoint", denoiser, "--shards", real, "--sampler-steps", 3, "--row", 5)
    for num in (1, 3):
        assert generate(*call, "--num", num, "--out", tmp_path / str(num)).code == 0
    name = "inpainted-00000005-000.png"
    np.testing.assert_array_equal(grey(tmp_path / "1" / name), grey(tmp_path / "3" / name))


def test_flags_say_other_conditions_than_those_of_the_patch(
    generate: Generate, denoiser: Path, real: Path, tmp_path: Path
) -> None:
    call = ("inpaint", "--checkpoint", denoiser, "--shards", real, *QUICK, "--row", 2)
    assert generate(*call, "--out", tmp_path / "own").code == 0
    assert generate(*call, "--cancer", "yes", "--guidance", "3", "--out", tmp_path / "said").code == 0
    (own, _), (said, _) = rows_in(tmp_path / "own"), rows_in(tmp_path / "said")
    with open_shards(real) as shards:
        assert own["cancer"] == ("no", "yes", "")[shards.conditions([2])["cancer"][0]]
    assert said["cancer"] == "yes"
    assert own["view"] == said["view"]
    assert contents(tmp_path / "own")[own["file"]] != contents(tmp_path / "said")[said["file"]]


@pytest.mark.parametrize("edge", [32, 8])
def test_superresolve_averages_to_what_is_known(
    edge: int, generate: Generate, denoiser: Path, tmp_path: Path
) -> None:
    make_shard_set(tmp_path / "set", patches=8, resolution=edge)
    done = generate(
        *("superresolve", "--checkpoint", denoiser, "--shards", tmp_path / "set", "--scale", 4, *QUICK),
        *("--row", 1, "--out", tmp_path / "s"),
    )
    assert done.code == 0, done.err
    with open_shards(tmp_path / "set") as shards:
        known = shards.read([1])[0].astype(np.float64)
    known = known.reshape(8, edge // 8, 8, edge // 8).mean(axis=(1, 3))
    files = [row["file"] for row in rows_in(tmp_path / "s")]
    assert files == ["superresolved-00000001-000.png", "superresolved-00000001-001.png"]
    for name in files:
        means = grey(tmp_path / "s" / name).astype(np.float64).reshape(8, 4, 8, 4).mean(axis=(1, 3))
        assert np.abs(means - known.round()).max() <= 1


def test_a_model_that_does_not_denoise_and_calls_that_contradict_themselves_are_refused(
    generate: Generate, denoiser: Path, real: Path, tmp_path: Path
) -> None:
    for command in ("inpaint", "superresolve"):
        done = generate(command, "--shards", real, "--out", tmp_path / "s")
        assert done.code == 1
        assert "needs a model that denoises, and a model of the family cvae does not denoise" in done.err
    call = ("inpaint", "--checkpoint", denoiser, "--shards", real, "--out", tmp_path / "s")
    done = generate(*call, "--box", "1,2,3,4", "--mask", tmp_path / "m.png")
    assert (done.code, "give one of them" in done.err) == (2, True)
    assert "is no box" in generate(*call, "--box", "1,2,3").err


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((), "dpm of 4 steps, temperature 1"),
        (("--sampler", "ode", "--guidance", "2"), "ode of 20 steps, temperature 1, guidance 2"),
        (("--sampler", "sde", "--sampler-steps", 6), "sde of 6 steps, temperature 1"),
        (("--sampler-steps", 7), "dpm of 7 steps, temperature 1"),
    ],
)
def test_samplers_are_chosen_by_options_and_every_file_says_which(
    asked: tuple[object, ...], said: str, generate: Generate, denoiser: Path, tmp_path: Path
) -> None:
    done = generate("--checkpoint", denoiser, "--num", 2, *asked, "--out", tmp_path / "s")
    assert done.code == 0, done.err
    assert [row["sampler"] for row in rows_in(tmp_path / "s")] == [said] * 2


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (
            ("--sampler", "prior"),
            "of the family diffusion has no sampler 'prior'; known: auto, flow, dpm, ode, sde",
        ),
        (("--temperature", "0.5"), "--temperature 0.5 is of a prior, and the sampler dpm has none"),
        (("--sampler", "flow"), "there is no flow"),
    ],
)
def test_what_a_diffusion_model_does_not_have_is_refused(
    asked: tuple[object, ...], why: str, generate: Generate, denoiser: Path, tmp_path: Path
) -> None:
    done = generate("--checkpoint", denoiser, *asked, "--out", tmp_path / "s")
    assert (done.code, why in done.err) == (1, True), done.err


def test_between_two_seeds_of_the_sde_lies_nothing_and_between_two_conditions_patches(
    generate: Generate, denoiser: Path, tmp_path: Path
) -> None:
    call = ("interpolate", "--checkpoint", denoiser, "--sampler", "sde", "--sampler-steps", 4, "--steps", 2)
    done = generate(*call, "--to-seed", 1, "--out", tmp_path / "s")
    assert done.code == 1
    assert "between those of two seeds lies nothing: take --sampler dpm or ode" in done.err
    assert not (tmp_path / "s").exists()
    ends = ("--from", "cancer=no", "--to", "cancer=yes")
    assert generate(*call, *ends, "--out", tmp_path / "s").code == 0


def test_the_samplers_of_a_diffusion_model_are_refused_for_others(generate: Generate, tmp_path: Path) -> None:
    done = generate("--sampler", "dpm", "--out", tmp_path / "s")
    assert "the sampler dpm needs a model that denoises, and one of the family cvae does not" in done.err
    done = generate("--sampler-steps", "9", "--out", tmp_path / "s")
    assert "--sampler-steps 9 is of dpm, ode, sde, and these draws are from the prior" in done.err
