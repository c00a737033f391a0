"""Families through the real commands: two of a file each, which is what the contract is for, and those of the zoo.

Also covers: models/registry.py.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from nlbs.evaluate.cli import main as evaluate
from nlbs.generate.cli import main as generate
from nlbs.models import registry
from nlbs.models.checkpoint import read_metadata, schema_of
from nlbs.shards import open_shards
from nlbs.train.cli import main as train
from tests.conftest import some
from tests.shards.conftest import make_shard_set
from tests.train.processes import together

FAMILIES = {
    "toy": "tests.models.toy",
    "toy-gan": "tests.models.toy_gan",
    "diffusion": "tests.models.tiny_diffusion",
}
#: What draws by default, where it is not the model itself.
SAMPLERS = {"diffusion": "dpm of 4 steps"}
PATCHES = 96


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    before, threads = dict(registry._MODULES), torch.get_num_threads()
    for name, module in FAMILIES.items():
        registry.register(name, module)
    torch.set_num_threads(1)
    yield
    registry._MODULES.clear()
    registry._MODULES.update(before)
    torch.set_num_threads(threads)


def run(main: Callable[[list[str]], Any], *arguments: object, code: int = 0) -> None:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert int(left.value.code or 0) == code


def weights(folder: Path, name: str = "last_model.safetensors") -> dict[str, bytes]:
    return {key: value.numpy().tobytes() for key, value in load_file(folder / name).items()}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 patients with 8 patches of 32 x 32 each; half of them to learn from."""
    folder = tmp_path_factory.mktemp("families") / "set"
    splits = ("train", "train", "val", "test")
    columns = {
        "split": [splits[row // 8 % 4] for row in range(PATCHES)],
        "cancer": [row // 4 % 2 for row in range(PATCHES)],
        "density": [("D", "B", None)[row % 3] for row in range(PATCHES)],
        # Nodules are seen in patches that are not trained on alone.
        "findings": [
            ("Mass", None, "No Finding")[row % 3] if row // 8 % 4 < 2 else "Nodule" for row in range(PATCHES)
        ],
    }
    make_shard_set(folder, PATCHES, resolution=32, columns=columns)
    return folder


@pytest.fixture(scope="module", params=list(FAMILIES))
def whole(
    request: pytest.FixtureRequest, shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """A family, and the folder of a run of its preset."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    run(train, "--shards", shards, "--preset", request.param, "--run", folder, "--device", "cpu")
    return request.param, folder


def test_a_run_that_is_stopped_and_resumed_equals_an_undisturbed_one_to_the_bit(
    whole: tuple[str, Path], shards: Path, tmp_path: Path
) -> None:
    family, folder = whole
    call = ("--shards", shards, "--preset", family, "--run", tmp_path / "run", "--device", "cpu")
    for limit in (("--max-steps", 3), ("--max-steps", 8), ()):
        run(train, *call, *limit)
    assert weights(tmp_path / "run") == weights(folder)
    best = "best_model.safetensors"
    assert weights(tmp_path / "run", best) == weights(folder, best)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    again = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row for row in again if row["kind"] == "train"] == [row for row in rows if row["kind"] == "train"]


ASKED = "view,density,findings,position,age_years"


@pytest.mark.parametrize("family", FAMILIES)
def test_any_columns_of_a_shard_set_are_conditions(family: str, shards: Path, tmp_path: Path) -> None:
    """What is chosen stands in run and checkpoint with its values, and a resumed run goes on with it to the bit."""
    call = ("--shards", shards, "--preset", family, "--conditions", ASKED, "--device", "cpu")
    run(train, *call, "--run", tmp_path / "whole")
    for limit in (("--max-steps", 3), ()):
        run(train, *call, "--run", tmp_path / "parts", *limit)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    values = read_metadata(tmp_path / "whole" / "best_model.safetensors")
    schema = schema_of(values)
    assert [(c.name, c.kind, c.values) for c in schema] == [
        ("view", "categorical", ("CC", "MLO")),
        ("density", "ordinal", ("A", "B", "C", "D")),
        ("findings", "multilabel", ("Mass", "Nodule")),
        ("position", "continuous", ("across", "down")),
        ("age_years", "continuous", ("years",)),
    ]
    assert values["training"]["conditions"] == {  # of what training met: no patch is of density A or C
        "view": [-1, 0, 1],
        "density": [-1, 1, 3],
        "findings": [-1, 0],
        "position": [0],
        "age_years": [-1, 0],
    }
    model = registry.load_checkpoint(tmp_path / "whole" / "best_model.safetensors")
    shown = {
        name: torch.from_numpy(array)
        for name, array in open_shards(shards).conditions([0, 5], schema).items()
    }
    noise = [torch.zeros(2, *shape) for shape in model.drawing_noise]
    assert model.draw(noise, shown).shape == (2, 1, 32, 32)
    run(
        train,
        *call[:4],
        "--conditions",
        "view,density",
        "--run",
        tmp_path / "whole",
        "--device",
        "cpu",
        code=1,
    )


def test_two_processes_train_as_one_but_for_rounding(
    whole: tuple[str, Path], shards: Path, tmp_path: Path
) -> None:
    family, folder = whole
    call = ("--shards", shards, "--preset", family, "--run", tmp_path / "run", "--device", "cpu")
    together(2, tmp_path / "said", *call, hook="toys")
    one, two = (load_file(path / "last_model.safetensors") for path in (folder, tmp_path / "run"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-3, msg=name)


def test_what_ranks_checkpoints_is_the_familys_own(whole: tuple[str, Path]) -> None:
    family, folder = whole
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (first, last) = [row for row in rows if row["kind"] == "epoch"]
    if family == "toy":
        assert last["val_total"] == pytest.approx(last["val_error"] - last["val_spread"] / 2)
        assert {"share of spread", "learning_rate"} <= next(
            row for row in rows if row["kind"] == "train"
        ).keys()
    elif family == "diffusion":
        assert last["val_total"] == pytest.approx(last["val_little_noise"] + last["val_much_noise"])
    else:
        assert last["val_total"] == pytest.approx(
            last["val_discriminator_total"] + last["val_generator_total"]
        )
        state = torch.load(folder / "last_state.pt", weights_only=True)
        assert len(state["more"]["optimizers"]) == 1
        best, average = load_file(folder / "best_model.safetensors"), state["more"]["average"]["model"]
        assert all(torch.equal(average[name], value) for name, value in some(best.items()))  # the newest
    assert first["val_total"] != last["val_total"]


def pictures(folder: Path) -> list[Any]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("synthetic-*.png"))]


def test_a_patch_depends_on_seed_and_number_alone(whole: tuple[str, Path], tmp_path: Path) -> None:
    call = (
        "--checkpoint",
        whole[1] / "best_model.safetensors",
        "--device",
        "cpu",
        "--view",
        "CC",
        "--cancer",
        "yes",
    )
    for num in (3, 21):
        run(generate, *call, "--num", num, "--out", tmp_path / str(num))
    few, many = pictures(tmp_path / "3"), pictures(tmp_path / "21")
    assert (len(few), len(many)) == (3, 21)
    assert all(np.array_equal(a, b) for a, b in zip(few, many, strict=False))
    assert not np.array_equal(many[0], many[1])
    said = json.loads((tmp_path / "3" / "samples.json").read_text())["sampler"]
    assert said == f"{SAMPLERS.get(whole[0], 'model')}, temperature 1"


def test_draws_are_written_as_a_shard_set(whole: tuple[str, Path], shards: Path, tmp_path: Path) -> None:
    model = ("--checkpoint", whole[1] / "best_model.safetensors", "--device", "cpu")
    run(generate, *model, "--like", shards, "--num", 20, "--format", "shards", "--out", tmp_path / "out")
    with open_shards(tmp_path / "out") as made:
        assert (len(made), made.resolution) == (20, 32)


def test_a_report_says_in_words_what_the_model_lacks(
    whole: tuple[str, Path], shards: Path, tmp_path: Path
) -> None:
    family, folder = whole
    model = ("--checkpoint", folder / "best_model.safetensors", "--device", "cpu", "--shards", shards)
    judged = (
        "--extractor",
        "random-convolutions",
        "--only",
        "galleries,reconstruction,realism,memorisation,latents",
    )
    run(evaluate, *model, "--out", tmp_path, *judged)
    report = json.loads((tmp_path / "report.json").read_text())
    sections = report["sections"]
    assert sections["realism"]["frechet"].keys() == {"floor", "generated", "point_mass"}
    assert any(f"family {family} does not rebuild images" in sentence for sentence in report["attention"])
    page = (tmp_path / "report.html").read_text()
    assert f"a model of the family {family} does not bound a likelihood" in page


def test_commands_that_need_latents_say_that_there_are_none(
    whole: tuple[str, Path], shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    family, folder = whole
    model = ("--checkpoint", folder / "best_model.safetensors", "--device", "cpu", "--shards", shards)
    asked = ("--sampler", "prior", "--num", 1, "--out", tmp_path / "no")
    run(generate, "--checkpoint", folder, "--device", "cpu", *asked, code=1)
    assert f"the family {family} has no sampler 'prior'" in capsys.readouterr().err
    for number, command in enumerate(("vary", "reconstruct")):
        run(generate, command, *model, "--out", tmp_path / str(number), code=1)
        assert f"a model of the family {family} does not" in capsys.readouterr().err
    run(
        train,
        "--shards",
        shards,
        "--preset",
        family,
        "--flow-patches",
        100,
        "--run",
        tmp_path / "run",
        code=1,
    )
    assert f"a flow needs latents, and a model of the family {family} does not" in capsys.readouterr().err


def test_a_checkpoint_of_a_family_that_is_not_known_is_refused(
    whole: tuple[str, Path], tmp_path: Path
) -> None:
    from nlbs.cvae import ConditionalVAE
    from nlbs.errors import CheckpointError

    family, folder = whole
    path = folder / "best_model.safetensors"
    assert type(registry.load_checkpoint(path)).family == family
    with pytest.raises(CheckpointError, match=f"a model of the family '{family}', no conditional VAE"):
        ConditionalVAE.load_from_checkpoint(path)
    module = registry._MODULES.pop(family)
    try:
        with pytest.raises(CheckpointError, match=f"there is no family of models '{family}'"):
            registry.load_checkpoint(path)
    finally:
        registry.register(family, module)
