"""Drawing from Python: the same bytes as the command's, from a folder that is one model."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import nlbs
from nlbs.errors import CheckpointError, ConfigError
from nlbs.generate.generator import Generator
from nlbs.manifests.schema import NLBS
from nlbs.models.checkpoint import save_checkpoint
from nlbs.models.stages.fitted import save_stage
from nlbs.models.stages.flow_stage import FLOW, WEAK_FLOW
from nlbs.models.stages.grain import LEVELS, Grain, ring_count
from nlbs.models.stages.grain_stage import GRAIN
from tests.conftest import some
from tests.cvae.test_ladder import ladder
from tests.generate.conftest import Generate, contents
from tests.models.stages.conftest import untrained_flow

FLAGS = ("--view", "CC", "--laterality", "L", "--age", "66", "--cancer", "yes", "--num", "3", "--seed", "5")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


def make_run(folder: Path) -> Path:
    """Return a run folder with a model, a flow, a weak flow and grain, none of which learnt anything."""
    torch.manual_seed(0)
    model = ladder(latent_dim=32).eval()
    checkpoint = folder / "best_model.safetensors"
    save_checkpoint(checkpoint, model, {"dataset_id": "abc", "fit": "downsample"})
    for seed, stage in enumerate((FLOW, WEAK_FLOW)):
        save_stage(checkpoint, stage, untrained_flow(model, seed), model)
    edge = model.resolution
    save_stage(
        checkpoint, GRAIN, Grain(torch.full((LEVELS,), 0.1), torch.ones(ring_count(edge)), edge), model
    )
    (folder / "config.yaml").write_text("model: {}\n")
    return folder


@pytest.fixture
def generator(run: Path) -> Generator:
    return Generator.from_pretrained(run, device="cpu")


def drawn(generator: Generator, **options: Any) -> Any:
    return generator.draw(view="CC", laterality="L", age=66, cancer=True, n=3, seed=5, **options)


def test_it_draws_and_writes_what_the_command_does_to_the_byte(
    generator: Generator, run: Path, generate: Generate, tmp_path: Path
) -> None:
    done = generate("--checkpoint", run, *FLAGS, "--device", "cpu", "--out", tmp_path / "command")
    assert done.code == 0, done.err
    patches = drawn(generator)
    assert patches.images.dtype == np.uint8
    assert len(patches) == 3
    for index, image in some(list(enumerate(patches.images))):
        with Image.open(tmp_path / "command" / f"synthetic-{index:06d}.png") as picture:
            assert np.array_equal(np.asarray(picture), image)
            assert "flow" in picture.info["Sampler"]
            assert "with grain" in picture.info["Sampler"]
    assert patches.save(tmp_path / "python") == tmp_path / "python"
    assert contents(tmp_path / "python") == contents(tmp_path / "command")
    words = {"view": "CC", "laterality": "L", "age_bin": ">65", "cancer": "yes", "false_positive": ""}
    assert patches.conditions == [words] * 3
    with pytest.raises(ConfigError, match="pass --overwrite"):
        generator.draw(seed=6).save(tmp_path / "python")


def test_options_are_those_of_the_command(run: Path, generate: Generate, tmp_path: Path) -> None:
    flags = ("--sampler", "prior", "--guidance", "2", "--no-grain", "--num", "2", "--device", "cpu")
    assert generate("--checkpoint", run, *flags, "--out", tmp_path / "command").code == 0
    prior = Generator.from_pretrained(str(run), "cpu", sampler="prior", guidance=2, grain=False)
    prior.draw(n=2).save(tmp_path / "python")
    assert contents(tmp_path / "python") == contents(tmp_path / "command")
    for options, says in (
        ({"gidance": 2}, "did you mean 'guidance'"),
        ({"flow_steps": 0}, "flow_steps"),
        ({"sampler": "flwo"}, "did you mean 'flow'"),
    ):
        with pytest.raises(ConfigError, match=says):
            Generator.from_pretrained(run, "cpu", **options)


def test_conditions_are_said_in_words_and_errors_are_the_commands(generator: Generator) -> None:
    same = generator.draw({"Cancer": "yes", "age-bin": np.int64(2)}, view="craniocaudal", laterality=None)
    assert same.conditions[0]["age_bin"] == NLBS["age_bin"].values[2]
    assert (same.conditions[0]["view"], same.conditions[0]["cancer"]) == ("CC", "yes")
    for wrong, says in (
        (
            {"lateralty": "L"},
            r"no condition 'lateralty' \(did you mean 'laterality'\?\); expected one of view, ",
        ),
        ({"view": "sideways"}, "view 'sideways' cannot be read; expected one of CC, MLO"),
        ({"age": 300}, "age '300' cannot be read; expected years from 1 to 120"),
        ({"n": 0}, "n from 1"),
        ({"seed": -1}, "seed from 0"),
        ({"age": 66, "age_bin": 1}, "the condition age bin is said twice"),
    ):
        with pytest.raises(ConfigError, match=says):
            generator.draw(**wrong)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        Generator.from_pretrained("runs/none", "cpu")


def test_what_training_never_met_is_a_warning(tmp_path: Path) -> None:
    save_checkpoint(
        tmp_path / "best_model.safetensors", ladder(latent_dim=32), {"conditions": {"view": [0, -1]}}
    )
    generator = Generator.from_pretrained(tmp_path, "cpu")
    generator.draw(view="CC")
    with pytest.warns(UserWarning, match="met no training patch with view MLO"):
        generator.draw(view="MLO")


def test_a_notebook_shows_patches_and_models(generator: Generator) -> None:
    patches = drawn(generator)
    assert re.fullmatch(
        r"Patches\(3 synthetic patches of \d+x\d+, seed 5: CC L >65, cancer, false positive\?\)",
        repr(patches),
    )
    assert patches._repr_html_().startswith('<img alt="Synthetic patches" src="data:image/png;base64,')
    assert "\n" not in repr(generator)
    assert "<th style='text-align:left'>laterality</th>" in generator._repr_html_()


@pytest.fixture
def copy(generator: Generator, tmp_path: Path) -> Path:
    return generator.save_pretrained(tmp_path / "copy")


def test_a_saved_folder_is_the_layout_of_the_hub_and_draws_the_same(
    generator: Generator, run: Path, copy: Path
) -> None:
    stages = {f"best_model.{name}.safetensors" for name in ("flow", "weak-flow", "grain")}
    assert {path.name for path in copy.iterdir()} == {
        "README.md",
        "config.yaml",
        "best_model.safetensors",
        *stages,
    }
    again = drawn(Generator.from_pretrained(copy, "cpu"))
    assert np.array_equal(again.images, drawn(generator).images)
    card = (copy / "README.md").read_text()
    assert card.startswith("---\nlicense: unknown")
    assert str(run) not in card
    with pytest.raises(ConfigError, match="is there already: choose another folder, or pass overwrite=True"):
        generator.save_pretrained(copy)
    (copy / "notes.txt").write_text("mine")
    Generator.from_pretrained(run, "cpu").save_pretrained(copy, overwrite=True)
    assert (copy / "notes.txt").exists()


def test_a_folder_keeps_no_stage_of_another_model(copy: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "best_model.safetensors", ladder(latent_dim=32), {})
    Generator.from_pretrained(tmp_path, "cpu").save_pretrained(copy, overwrite=True)
    assert not list(copy.glob("best_model.*.safetensors"))
    assert not (copy / "config.yaml").exists()
    Generator.from_pretrained(copy, "cpu").draw()


class Hub:
    """What huggingface_hub does, in a list."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.is_private = True

    def HfApi(self, token: str | None) -> "Hub":
        self.calls.append(token)
        return self

    def create_repo(self, repo_id: str, private: bool, exist_ok: bool) -> str:
        self.calls.append((repo_id, private))
        return f"https://hub/{repo_id}"

    def repo_info(self, repo_id: str) -> SimpleNamespace:
        return SimpleNamespace(private=self.is_private)

    def upload_folder(self, repo_id: str, folder_path: str) -> None:
        self.calls.append(sorted(path.name for path in Path(folder_path).iterdir()))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(HfApi=made.HfApi))
    return made


def test_it_is_pushed_to_the_hub_and_to_everybody_with_a_licence_and_an_audit_alone(
    copy: Path, hub: Hub
) -> None:
    generator = Generator.from_pretrained(copy, "cpu")
    assert generator.push_to_hub("me/model", token="t") == "https://hub/me/model"  # noqa: S106
    assert hub.calls[:2] == ["t", ("me/model", True)]
    assert hub.calls[2] == sorted(path.name for path in copy.iterdir())
    with pytest.raises(ConfigError, match="expected OWNER/NAME"):
        generator.push_to_hub("model")
    with pytest.raises(ConfigError, match="licence of the model is unknown"):
        generator.push_to_hub("me/model", private=False)
    card = copy / "README.md"
    card.write_text(card.read_text().replace("license: unknown", "license: cc-by-4.0"))
    with pytest.raises(ConfigError, match="memorisation: not audited"):
        generator.push_to_hub("me/model", private=False)
    card.write_text(card.read_text().replace("not audited", "no copies found"))
    assert generator.push_to_hub("me/model", private=False)
    assert hub.calls[-2] == ("me/model", False)
    hub.is_private = False
    with pytest.raises(ConfigError, match="me/model is there already, and public"):
        generator.push_to_hub("me/model")
    assert hub.calls[-1] == ("me/model", True)  # nothing was uploaded


def test_the_model_that_comes_with_the_product_draws_each_breast_at_its_side() -> None:
    """A left breast has its chest wall at the left edge of the image, and is seen there."""
    tiny = Generator.from_pretrained("tiny-phantom", device="cpu")
    left, right = (tiny.draw(view="MLO", laterality=side, n=4).images for side in "LR")
    assert left.shape == (4, 64, 64)
    at_left = [image[:, :32].sum() > 2 * image[:, 32:].sum() for image in (*left, *right[:, :, ::-1])]
    assert at_left == [True] * 8


def test_without_the_extra_it_says_what_to_install(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'nlbs-cvae[hub]'")):
        generator.push_to_hub("me/model")


def test_the_package_shows_its_names_and_imports_torch_on_first_use_alone() -> None:
    code = (
        "import sys, nlbs\n"
        "assert {'open_shards', 'PatchStream', 'Generator', 'ConditionalVAE'} <= set(dir(nlbs)) & set(nlbs.__all__)\n"
        "print(len([n for n in sys.modules if n.startswith('nlbs')]), 'torch' in sys.modules)\n"
        "nlbs.open_shards; print('torch' in sys.modules)\n"
        "nlbs.Generator; print('torch' in sys.modules, 'huggingface_hub' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1 False", "False", "True False"]
    assert nlbs.Generator is Generator
    with pytest.raises(AttributeError, match="no attribute 'Generatr'"):
        nlbs.Generatr  # type: ignore[attr-defined]  # noqa: B018
