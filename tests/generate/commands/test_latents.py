"""reconstruct, interpolate, traverse and vary as a user calls them.

Also covers: generate/latent_pages.py, generate/real.py.
"""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from nlbs.cvae import ConditionalVAE, read_metadata
from nlbs.errors import ConfigError
from nlbs.generate.real import read_real, rows_of
from nlbs.models.stages.fitted import save_stage
from nlbs.models.stages.grain import LEVELS, Grain, ring_count
from nlbs.models.stages.grain_stage import GRAIN
from nlbs.shards import open_shards
from tests.conftest import some
from tests.generate.conftest import Generate, contents, table
from tests.shards.conftest import make_shard_set


def pixels_of(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        image.load()
        assert image.text["Synthetic"] == "yes"  # type: ignore[attr-defined]
        return np.asarray(image)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    make_shard_set(tmp_path / "real", patches=12, resolution=64)
    return tmp_path / "real"


def test_larger_patches_come_to_the_model_as_means_of_areas(real: Path, checkpoint: Path) -> None:
    model = ConditionalVAE.load_from_checkpoint(checkpoint)
    with open_shards(real) as shards:
        rows = np.array([7, 2])
        pixels, codes = read_real(shards, rows, model, torch.device("cpu"), "downsample")
        stored, expected = shards.read(rows).astype(np.float64), shards.conditions(rows)
    means = stored.reshape(2, 32, 2, 32, 2).mean(axis=(2, 4)) / 127.5 - 1
    np.testing.assert_allclose(pixels[:, 0], means, atol=1e-6)
    for name, values in some(expected.items()):
        assert codes[name].tolist() == values.tolist()


def cropping(checkpoint: Path, folder: Path) -> Path:
    """Gives the same model, said to be trained with ``fit: crop``."""
    values = read_metadata(checkpoint) | {"training": {"fit": "crop"}}
    path = folder / "cropping.safetensors"
    save_file(load_file(checkpoint), path, {"nlbs_cvae": json.dumps(values)})
    return path


def test_a_model_that_was_trained_on_windows_is_shown_windows(
    generate: Generate, real: Path, checkpoint: Path, tmp_path: Path
) -> None:
    model = cropping(checkpoint, tmp_path)
    options = ("--checkpoint", model, "--shards", real, "--row", 7)
    done = generate("reconstruct", *options, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    with open_shards(real) as shards:
        centre = shards.read(np.array([7]))[:, 16:48, 16:48]
        codes = {name: torch.from_numpy(values) for name, values in shards.conditions(np.array([7])).items()}
    pixels = torch.from_numpy(centre.astype(np.float32))[:, None] / 127.5 - 1
    with torch.no_grad():
        expected = ConditionalVAE.load_from_checkpoint(model)(pixels, codes).reconstruction
    grey = (127.5 * (expected[0, 0].clamp(-1, 1) + 1)).round().numpy()
    np.testing.assert_allclose(pixels_of(tmp_path / "out" / "reconstruction-00000007.png"), grey, atol=1)


def test_rows_are_those_named_or_some_of_the_split(real: Path) -> None:
    with open_shards(real) as shards:
        assert rows_of(shards, (5, 1, 5), "val", 3, 0).tolist() == [5, 1, 5]
        some = rows_of(shards, (), "train", 3, 0)
        assert len(some) == 3
        assert set(some) <= set(shards.rows("train"))
        assert rows_of(shards, (), "train", 99, 0).tolist() == shards.rows("train").tolist()
        with pytest.raises(ConfigError, match="no row 12"):
            rows_of(shards, (12,), None, 1, 0)


def test_reconstruct_shows_real_patches_only_on_the_sheet(
    generate: Generate, real: Path, checkpoint: Path, tmp_path: Path
) -> None:
    call = ("reconstruct", "--shards", real, "--row", 3, "--row", 7, "--out", tmp_path / "s")
    done = generate(*call)
    assert done.code == 0, done.err
    assert "2 patches in" in done.out
    assert "treat them like their images" in done.out
    assert json.loads((tmp_path / "s" / "samples.json").read_text())["of_patients"] is True
    rows = table(tmp_path / "s" / "samples.csv")
    assert [row["file"] for row in rows] == ["reconstruction-00000003.png", "reconstruction-00000007.png"]
    assert set(contents(tmp_path / "s")) == {
        *(row["file"] for row in rows), "contact_sheet.png", "samples.csv", "samples.json"
    }  # fmt: skip
    model = ConditionalVAE.load_from_checkpoint(checkpoint)
    with open_shards(real) as shards:
        pixels, codes = read_real(shards, np.array([3]), model, torch.device("cpu"), "downsample")
    with torch.no_grad():
        expected = (model(pixels, codes).reconstruction.clamp(-1, 1)[0, 0].numpy() + 1) * 127.5
    shown = pixels_of(tmp_path / "s" / rows[0]["file"])
    assert np.abs(shown - expected).max() <= 0.51
    original = np.round((pixels[0, 0].numpy() + 1) * 127.5)
    assert float(rows[0]["mean_absolute_error"]) == pytest.approx(np.abs(original - shown).mean(), abs=1e-3)
    with Image.open(tmp_path / "s" / "contact_sheet.png") as sheet:
        sheet.load()
        assert "captioned real" in sheet.text["Synthetic"]  # type: ignore[attr-defined]
    before = contents(tmp_path / "s")
    assert generate(*call).code == 0
    assert contents(tmp_path / "s") == before
    assert generate("reconstruct", "--shards", real, "--row", 4, "--out", tmp_path / "s").code == 1


def test_patches_smaller_than_the_model_are_refused(generate: Generate, tmp_path: Path) -> None:
    make_shard_set(tmp_path / "small", resolution=16)
    done = generate("vary", "--shards", tmp_path / "small", "--row", 0, "--out", tmp_path / "s")
    assert done.code == 1
    assert "cut a set with --resolution 32" in done.err


def test_an_interpolation_begins_and_ends_with_what_it_goes_between(
    generate: Generate, real: Path, tmp_path: Path
) -> None:
    first, last = "view=CC,cancer=no", "view=MLO,cancer=yes,age=70"
    done = generate("interpolate", "--from", first, "--to", last, "--steps", 5, "--out", tmp_path / "c")
    assert done.code == 0, done.err
    assert generate("--view", "CC", "--cancer", "no", "--num", 1, "--out", tmp_path / "d").code == 0
    drawn = pixels_of(tmp_path / "d" / "synthetic-000000.png").astype(int)
    assert np.abs(pixels_of(tmp_path / "c" / "interpolation-000.png") - drawn).max() <= 1
    rows = table(tmp_path / "c" / "samples.csv")
    assert [row["t"] for row in rows] == ["0.0", "0.25", "0.5", "0.75", "1.0"]
    assert (rows[0]["to_cancer"], rows[0]["from_age_bin"], rows[0]["to_age_bin"]) == ("yes", "", ">65")
    two = generate("interpolate", "--shards", real, "--row", 2, "--row", 9, "--out", tmp_path / "r")
    assert two.code == 0, two.err
    assert (
        generate(
            "vary", "--shards", real, "--row", 9, "--num", 1, "--strength", 0, "--out", tmp_path / "v"
        ).code
        == 0
    )
    end = pixels_of(tmp_path / "r" / "interpolation-007.png").astype(int)
    assert np.abs(pixels_of(tmp_path / "v" / "variation-00000009-000.png") - end).max() <= 1
    assert generate("interpolate", "--view", "CC", "--to-seed", 4, "--out", tmp_path / "l").code == 0
    for wrong in ((), ("--from", first), ("--row", 1), ("--from", "colour=red", "--to", last)):
        assert generate("interpolate", *wrong, "--out", tmp_path / "w").code == 2


def test_a_traversal_has_a_row_for_each_dimension(generate: Generate, real: Path, tmp_path: Path) -> None:
    dimensions = ("--dimension", 0, "--dimension", 5, "--steps", 3, "--range", 2)
    assert generate("traverse", *dimensions, "--out", tmp_path / "s").code == 0
    rows = table(tmp_path / "s" / "samples.csv")
    assert [(row["dimension"], row["value"]) for row in rows] == [
        (dimension, value) for dimension in ("0", "5") for value in ("-2.0", "0.0", "2.0")
    ]
    assert generate("traverse", "--shards", real, "--row", 1, *dimensions, "--out", tmp_path / "r").code == 0
    for wrong in (("--dimension", 8), ("--level", 1)):
        refused = generate("traverse", *wrong, "--out", tmp_path / "w")
        assert refused.code == 1
        assert "this model has 0 to 0" in refused.err or "it has 0 to 7" in refused.err


def test_variations_do_not_depend_on_how_many_there_are(
    generate: Generate, real: Path, tmp_path: Path
) -> None:
    call = ("vary", "--shards", real, "--row", 9)
    assert generate(*call, "--num", 2, "--out", tmp_path / "few").code == 0
    assert generate(*call, "--num", 5, "--out", tmp_path / "many").code == 0
    few, many = contents(tmp_path / "few"), contents(tmp_path / "many")
    assert few["variation-00000009-001.png"] == many["variation-00000009-001.png"]
    assert many["variation-00000009-000.png"] != many["variation-00000009-001.png"]


def test_latents_are_looked_around_with_the_grain_of_draws(
    generate: Generate, checkpoint: Path, tmp_path: Path
) -> None:
    """An interpolation begins with the very patch that is drawn; the noise of grain is no level of the latent."""
    own = tmp_path / "best_model.safetensors"
    own.write_bytes(checkpoint.read_bytes())
    model = ConditionalVAE.load_from_checkpoint(own)
    grain = Grain(torch.full((LEVELS,), 0.2), torch.ones(ring_count(model.resolution)), model.resolution)
    save_stage(own, GRAIN, grain, model)
    drawn = generate("--checkpoint", own, "--view", "CC", "--num", 1, "--out", tmp_path / "drawn")
    assert drawn.code == 0, drawn.err
    record = json.loads((tmp_path / "drawn" / "samples.json").read_text())
    assert record["sampler"] == "prior, temperature 1, with grain"
    smooth = generate(
        "--checkpoint", own, "--view", "CC", "--num", 1, "--no-grain", "--out", tmp_path / "smooth"
    )
    assert smooth.code == 0, smooth.err
    first = pixels_of(tmp_path / "drawn" / "synthetic-000000.png").astype(float)
    rest = first - pixels_of(tmp_path / "smooth" / "synthetic-000000.png")
    assert rest.std() > 10
    between = ("interpolate", "--checkpoint", own, "--from", "view=CC", "--to", "view=MLO", "--steps", 2)
    assert generate(*between, "--out", tmp_path / "between").code == 0
    np.testing.assert_array_equal(pixels_of(tmp_path / "between" / "interpolation-000.png"), first)
    moved = ("traverse", "--checkpoint", own, "--view", "CC", "--dimension", 0, "--steps", 3)
    assert generate(*moved, "--out", tmp_path / "moved").code == 0
    for step in range(3):
        shown = pixels_of(tmp_path / "moved" / f"traversal-0-00000-{step:03d}.png").astype(float)
        assert np.corrcoef((shown - first + rest).ravel(), rest.ravel())[0, 1] > 0.5  # the same grain
    refused = generate(*moved, "--level", 1, "--out", tmp_path / "no")
    assert "there is no level 1 of the latent: this model has 0 to 0" in refused.err
