"""Every registered model keeps the contract: the toys too, as they are registered here as another family would be.

Also covers: train/turns.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, fx, nn
from torch._dynamo import lookup_backend

from nlbs.manifests.schema import NLBS
from nlbs.models import registry
from nlbs.models.checkpoint import save_checkpoint
from nlbs.models.contract import (
    Bounds,
    Clock,
    Denoises,
    Encodes,
    GenerativeModel,
    HasPrior,
    Reconstructs,
    Turn,
)
from nlbs.models.drawing import Bfloat16Sampler, OwnSampler, draw_patches
from nlbs.train.cli import main as train
from nlbs.train.config import preset, resolved_config
from nlbs.train.turns import compile_in_place, fresh_model, only
from tests.conftest import some
from tests.shards.conftest import make_shard_set

TOYS = {"toy": "tests.models.toy", "toy-gan": "tests.models.toy_gan"}
#: A small preset of each family.
PRESETS = {
    "cvae": "guide-small",
    "diffusion": "diffusion-small",
    "latent-diffusion": "latent-diffusion-small",
    "toy": "toy",
    "toy-gan": "toy-gan",
    "vae": "vindr-vae-small",
    "lsgan": "lsgan-small",
    "gmvae": "gmvae-small",
    "spatial-cvae": "spatial-cvae-small",
    "spatial-mlp": "spatial-cvae-published",
}
_GMVAE = {"features": "none", "widths": [4, 8], "latent_dim": 8, "components": 3, "decoder_widths": [8, 4]}
#: Presets of the zoo, and what makes a run of theirs one of seconds, at 32 pixels.
TINY: dict[str, dict[str, Any]] = {
    "vindr-vae-small": {"widths": [4, 8], "latent_dim": 8},
    "cxr-vae-published": {"widths": [4, 8], "latent_dim": 8},
    "lsgan-published": {"widths": [8, 4, 4], "latent_dim": 8},
    "lsgan-small": {"widths": [8, 4, 4], "latent_dim": 8},
    "gmvae-published": _GMVAE,
    "fs-gmvae-small": _GMVAE | {"transition": 6},
    "spatial-cvae-small": {"widths": [8, 8, 8], "latent_dim": 8, "token_width": 8},
    "spatial-cvae-published": {"hidden": 24, "latent_dim": 8},
    "diffusion-small": {"widths": [16, 24], "steps": 5},
    "diffusion-published": {"widths": [8, 16], "steps": 10},
    "latent-diffusion-small": {"width": 8, "blocks": 1, "latent_channels": 2, "adversary_width": 8},
}
#: Of presets that have a flow.
FLOW = {"network": {"widths": [8, 8], "blocks": 1, "attention": 1}, "patches": 64, "batch_size": 8}
#: Families that encode, rebuild and bound.
ENCODING = {"cvae", "vae", "gmvae", "spatial-cvae", "spatial-mlp", "latent-diffusion"}
CLOCK = Clock(step=3, steps_per_epoch=5, epoch=0, share=0.3)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    before = dict(registry._MODULES)
    for name, module in TOYS.items():
        registry.register(name, module)
    yield
    registry._MODULES.clear()
    registry._MODULES.update(before)


def tiny(name: str) -> dict[str, Any]:
    """Return the sections of a tiny run of a preset, as its YAML has them."""
    training = {"epochs": 2, "log_every_steps": 1}
    stages = {"flow": FLOW} if "flow" in registry.family_of_preset(name).presets[name] else {}
    return {"model": TINY[name], "training": training, "data": {"resolution": 32, "batch_size": 8}, **stages}


@pytest.fixture(params=["guide-small", "nlbs-small", "toy", "toy-gan", *TINY])
def model(request: pytest.FixtureRequest) -> GenerativeModel:
    torch.manual_seed(0)
    name = request.param
    return fresh_model(resolved_config(name, None, tiny(name)) if name in TINY else preset(name))


def test_a_model_is_a_line_to_read_and_a_table_in_a_notebook(model: GenerativeModel) -> None:
    assert repr(model).startswith(f"{type(model).__name__}(images {model.resolution}x")
    assert "\n" not in repr(model)
    assert f"{model.num_parameters:,}</td>" in model._repr_html_()


def batch(model: GenerativeModel, count: int = 4) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    channels, edge = model.image
    pixels = 2 * torch.rand(count, channels, edge, edge, generator=generator) - 1
    codes = {c.name: torch.randint(-1, len(c.values), (count,), generator=generator) for c in NLBS}
    codes |= {c.name: torch.rand(count, len(c.values)) for c in model.schema if c.kind == "continuous"}
    return pixels, codes


def noise(shapes: object, count: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(count, *shape, generator=generator) for shape in shapes]  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiling_reaches_the_networks_of_each_turn_and_changes_no_value(
    model: GenerativeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, compiling = set[int](), nn.Module.compile

    def remembering(graph: fx.GraphModule, examples: list[Tensor]) -> Callable[..., Any]:
        compiled: Any = lookup_backend("aot_eager")(graph, examples)

        def run(*inputs: Tensor) -> Any:
            seen.update(id(one) for one in inputs if isinstance(one, nn.Parameter))
            return compiled(*inputs)

        return run

    def terms_of(turn: Turn) -> dict[str, Tensor]:
        model.load_state_dict(first)  # a spectral norm takes a step of its iteration in each pass
        model.zero_grad(set_to_none=True)
        torch.manual_seed(3)
        with only(turn, model, model.turns()):
            terms = model.terms(turn.name, pixels, codes, noise(turn.noise), late)
            terms["total"].backward()
        return {name: value.detach() for name, value in terms.items()}

    pixels, codes = batch(model)
    first = {name: value.clone() for name, value in model.state_dict().items()}
    late = CLOCK._replace(share=0.9)  # an adversary may rest before
    plain = {turn.name: terms_of(turn) for turn in model.turns()}
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiling(self, backend=remembering))
    torch._dynamo.reset()
    compile_in_place(model)
    for turn in some(model.turns()):
        torch.testing.assert_close(terms_of(turn), plain[turn.name], rtol=1e-4, atol=1e-5)
        kernels = [p for p in turn.parameters if p.grad is not None and p.ndim > 2]  # of convolutions
        # Single layers beside the networks are left as they are, and the toys have no others.
        assert model.family in TOYS or sum(id(p) in seen for p in kernels) >= 0.8 * len(kernels), turn.name
    assert seen or model.family in TOYS


def test_every_family_is_tried_here() -> None:
    assert set(PRESETS) == set(registry.names())


def test_each_turn_has_its_terms_and_moves_its_own_weights_alone(model: GenerativeModel) -> None:
    pixels, codes = batch(model)
    turns = model.turns()
    every = [parameter for turn in turns for parameter in turn.parameters]
    assert len({id(parameter) for parameter in every}) == len(every) == len(list(model.parameters()))
    for turn in some(turns):
        model.zero_grad(set_to_none=True)
        with only(turn, model, turns):
            terms = model.terms(turn.name, pixels, codes, noise(turn.noise), CLOCK)
            assert tuple(terms) == tuple(turn.terms)
            assert turn.terms[0] == "total"
            assert all(term.shape == () and term.dtype == torch.float32 for term in some(terms.values()))
            terms["total"].backward()
        own = {id(parameter) for parameter in turn.parameters}
        assert all((parameter.grad is not None) == (id(parameter) in own) for parameter in model.parameters())
        assert all(parameter.requires_grad for parameter in model.parameters())


@torch.no_grad()
def test_judging_repeats_itself_and_ranks_or_says_that_nothing_does(model: GenerativeModel) -> None:
    pixels, codes = batch(model)
    model.eval()
    means: dict[str, float] = {}
    for turn in some(model.turns()):
        once, again = (
            model.terms(turn.name, pixels, codes, noise(turn.judging_noise), CLOCK) for _ in range(2)
        )
        assert all(torch.equal(once[name], again[name]) for name in some(once))
        means |= {name: float(value) for name, value in once.items()}
    total = model.judged(means)
    assert total is None or isinstance(total, float)
    assert all(isinstance(value, float) for value in model.scheduled(CLOCK).values())
    assert all(sentence.endswith((".", "0", "first")) for sentence in model.warnings(means, CLOCK))


@torch.no_grad()
def test_a_draw_depends_on_its_own_noise_and_conditions(model: GenerativeModel) -> None:
    model.eval()
    _, codes = batch(model)
    drawn = model.draw(noise(model.drawing_noise), codes)
    assert drawn.shape == (4, *model.image[:1], model.resolution, model.resolution)
    assert bool((drawn.abs() <= 1).all())
    alone = model.draw(
        [level[2:3] for level in noise(model.drawing_noise)],
        {name: code[2:3] for name, code in codes.items()},
    )
    torch.testing.assert_close(alone[0], drawn[2], rtol=1e-4, atol=1e-5)
    assert model.draw(noise(model.drawing_noise), codes, guidance=3.0).shape == drawn.shape


@torch.no_grad()
def test_a_draw_in_bfloat16_is_nearly_that_in_float32(model: GenerativeModel) -> None:
    _, codes = batch(model)
    sampler, given = OwnSampler(model), noise(model.drawing_noise)
    exact, quick = sampler.draw(given, codes), Bfloat16Sampler(sampler).draw(given, codes)
    assert quick.dtype == torch.float32
    # Three digits in each layer: some hundredths of white, and more where a pixel is just between air and tissue.
    assert float((quick - exact).abs().median()) < 0.03


@torch.no_grad()
def test_capabilities_do_what_they_say(model: GenerativeModel) -> None:
    model.eval()
    pixels, codes = batch(model)
    can = [kind for kind in (Reconstructs, Bounds, Encodes, HasPrior, Denoises) if isinstance(model, kind)]
    assert bool(can) == (model.family in {*ENCODING, "diffusion"})
    if isinstance(model, Denoises):
        assert registry.family(model.family).denoises
        sigma = model.schedule.sigma(torch.full((4,), 0.3, dtype=torch.float64))
        assert model.denoise(pixels, sigma, codes).shape == pixels.shape
    if isinstance(model, Reconstructs):
        assert model.reconstruct(pixels, codes).shape == pixels.shape
    if isinstance(model, Bounds):
        again, nats = model.bound(pixels, codes)
        assert again.shape == pixels.shape
        assert nats.shape[0] == len(pixels)
        assert bool((nats >= 0).all())
    if isinstance(model, Encodes):
        latents = model.infer(pixels, codes)
        assert [tuple(level.shape[1:]) for level in latents] == [
            tuple(shape) for shape in model.latent_shapes
        ]
        assert model.render(latents, codes).shape == pixels.shape
    if isinstance(model, HasPrior):
        assert [level.shape for level in model.shifts(pixels, codes)] == [level.shape for level in latents]


@pytest.mark.parametrize("name", ["nlbs-small", "toy", "toy-gan", *TINY])
def test_every_family_learns_and_draws_colours_and_its_checkpoint_says_so(name: str, tmp_path: Path) -> None:
    config = resolved_config(name, None, tiny(name)) if name in TINY else preset(name)
    torch.manual_seed(0)
    model = fresh_model(replace(config, data=replace(config.data, channels=3)))
    pixels, codes = batch(model)
    assert pixels.shape[1] == 3
    for turn in some(model.turns()):
        terms = model.terms(turn.name, pixels, codes, noise(turn.noise), CLOCK)
        assert all(bool(term.isfinite()) for term in some(terms.values()))
        terms["total"].backward()
    save_checkpoint(tmp_path / "colour.safetensors", model.eval())
    again = registry.load_checkpoint(tmp_path / "colour.safetensors", torch.device("cpu"))
    assert again.image == (3, model.resolution)
    values = {c.name: np.repeat(c.array([c.parse("")]), 2, axis=0) for c in model.schema}
    with torch.no_grad():
        patches = list(draw_patches(OwnSampler(again), values, seed=0))
    assert [patch.shape for patch in patches] == [(model.resolution, model.resolution, 3)] * 2


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 patients with 8 patches of 32 x 32 each; half of them to learn from."""
    folder = tmp_path_factory.mktemp("contract") / "set"
    splits = [("train", "train", "val", "test")[row // 8 % 4] for row in range(64)]
    make_shard_set(folder, 64, resolution=32, columns={"split": splits})
    return folder


def trained(*arguments: object) -> None:
    with pytest.raises(SystemExit) as left:
        train([str(argument) for argument in arguments])
    assert not left.value.code


@pytest.mark.parametrize("name", TINY)
def test_a_run_resumes_to_the_bit_and_its_checkpoint_draws_the_same_for_any_number(
    name: str, shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny(name)))
    call = ("--shards", shards, "--preset", name, "--config", tmp_path / "tiny.yaml", "--device", "cpu")
    trained(*call, "--run", tmp_path / "whole")
    for limit in (("--max-steps", 3), ("--max-steps", 5), ()):
        trained(*call, "--run", tmp_path / "parts", *limit)
    whole, parts = (load_file(tmp_path / run / "last_model.safetensors") for run in ("whole", "parts"))
    assert {key: value.numpy().tobytes() for key, value in whole.items()} == {
        key: value.numpy().tobytes() for key, value in parts.items()
    }
    model = registry.load_checkpoint(tmp_path / "whole" / "best_model.safetensors")
    sampler = OwnSampler(model)
    few, many = (list(draw_patches(sampler, model.schema.unknown(count), seed=3)) for count in (2, 19))
    assert len(many) == 19
    assert all(np.array_equal(a, b) for a, b in zip(few, many, strict=False))
