"""The Gaussian mixture that a run ends with."""

from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from nlbs.cvae import save_checkpoint
from nlbs.cvae.mixture_file import load_mixture, open_mixture
from nlbs.cvae.model import ConditionalVAE
from nlbs.errors import ConfigError
from nlbs.train.afterwards import fit_mixture_of
from nlbs.train.mixture_fit import _latents, fit_mixture_to_run
from nlbs.train.run import RunFolder
from nlbs.train.stream import PatchStream
from tests.train.conftest import MemoryShards, check_fitted_once, tiny_config
from tests.train.test_flow_fit import CPU, LADDER, run_of_a_ladder
from tests.train.test_loop import train

MIXTURE: dict[str, Any] = {"components": 3, "patches": 90}
AS_THEY_ARE = {
    "augment": {"horizontal_flip": 0, "rotation_deg": 0, "brightness": 0, "contrast": 0, "noise": 0}
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run_of_a_ladder(tmp_path)
    return tmp_path


def training_stream() -> PatchStream:
    return PatchStream(MemoryShards(), batch_size=8)  # type: ignore[arg-type]


def fit(folder: Path, interrupted: Event | None = None, held_out: bool = True, **changes: Any) -> Path | None:
    config = tiny_config(model=LADDER, mixture=MIXTURE | changes)
    others = PatchStream(MemoryShards(), batch_size=8, split="val", drop_last=False)  # type: ignore[arg-type]
    return fit_mixture_to_run(
        config,
        training_stream(),
        others if held_out else None,
        RunFolder(folder),
        CPU,
        interrupted or Event(),
    )


def best_model(folder: Path) -> ConditionalVAE:
    return ConditionalVAE.load_from_checkpoint(folder / "best_model.safetensors")


def test_a_mixture_lies_beside_the_best_model_and_belongs_to_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fit(folder)
    assert path == folder / "best_model.mixture.safetensors"
    mixture = load_mixture(path, best_model(folder))
    assert mixture.means.shape == (3, 16)
    said = capsys.readouterr().out
    assert "mixture: 3 components fitted to 90 patches in " in said
    assert "; on 7 val patches " in said
    fit(folder, held_out=False, components=2)
    assert "; on 90 train patches " in capsys.readouterr().out


def test_latents_are_draws_from_the_posterior_in_units_of_the_prior(folder: Path) -> None:
    """Of each patch anew: (z - mu) / sigma is N(0, 1), its z = prior mean + prior deviation u."""
    model, config = best_model(folder), tiny_config(model=LADDER, training=AS_THEY_ARE)
    with torch.no_grad():
        assert model.prior is not None
        model.prior.weight.normal_(std=0.3)
        model.to_logvar.weight.mul_(20)
    found = _latents(config, model, training_stream(), 75, Event())
    assert found.shape == (75, 16)
    stream, expected = training_stream(), []
    for epoch in (0, 1):
        stream.seek(epoch)
        expected += [(batch.pixels.float() / 127.5 - 1, batch.conditions) for batch in stream]
    residuals = []
    for part, (pixels, conditions) in zip(torch.split(found, 8), expected, strict=False):
        with torch.no_grad():
            mu, logvar = model.encode(pixels, conditions)
            mean, prior_logvar = model.prior(model.condition_encoder(conditions)).chunk(2, dim=1)
        count = len(part)
        z = mean[:count] + (0.5 * prior_logvar[:count]).exp() * part
        residuals.append((z - mu[:count]) / (0.5 * logvar[:count]).exp())
    assert kstest(torch.cat(residuals).numpy().ravel(), "norm").pvalue > 1e-3
    assert not torch.allclose(residuals[0], residuals[5])  # another epoch, other noise


def test_the_gain_over_the_prior_is_that_of_the_densities(folder: Path) -> None:
    """log p(u) - log N(u; 0, I), in the mean over the patches that are named."""
    path = fit(folder, held_out=False)
    assert path is not None
    model = best_model(folder)
    mixture, about = open_mixture(path, model)
    u = _latents(tiny_config(model=LADDER), model, training_stream(), 90, Event())
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(u.double()).sum(dim=1)
    assert about["gain_nats"] == pytest.approx(float((mixture.log_prob(u) - normal).mean()), abs=1e-4)
    variance = u.double().numpy().var(axis=0)
    alone = -0.5 * (np.log(2 * np.pi * variance) + 1).sum()  # of a normal fitted to the draws, at its best
    assert about["one_normal_nats"] == pytest.approx(alone - float(normal.mean()), abs=1e-6)


def test_a_mixture_that_is_there_is_not_fitted_again_and_one_with_other_options_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = check_fitted_once(lambda: fit(folder), capsys)
    fit(folder, components=4)
    assert "it is fitted anew" in capsys.readouterr().out
    assert len(load_mixture(path, best_model(folder)).weights) == 4


def test_a_model_that_was_trained_further_gets_a_mixture_of_its_own(folder: Path) -> None:
    path = fit(folder)
    assert path is not None
    other = best_model(folder)
    with torch.no_grad():
        other.to_mu.bias += 1
    save_checkpoint(folder / "best_model.safetensors", other)
    fit(folder)
    assert load_mixture(path, other).components == 3


def test_a_fit_that_is_interrupted_leaves_nothing(folder: Path) -> None:
    interrupted = Event()
    interrupted.set()
    with pytest.raises(KeyboardInterrupt):
        fit(folder, interrupted)
    assert not (folder / "best_model.mixture.safetensors").exists()


def test_more_components_than_patches_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"91 components .* 90 latents; give mixture\.components"):
        fit(folder, components=91)


def test_a_run_goes_on_with_and_without_a_mixture(tmp_path: Path) -> None:
    train(tmp_path, model=LADDER, training={"max_steps": 2})
    train(tmp_path, model=LADDER, mixture=MIXTURE, training={"max_steps": 3})
    assert train(tmp_path, model=LADDER, mixture={}, training={"max_steps": 4}).total_steps == 4


def test_a_run_without_validation_patches_and_without_a_section_is_served(tmp_path: Path) -> None:
    shards = MemoryShards(val=0)
    train(tmp_path, shards, model=LADDER)
    for sections, is_there in (({}, False), ({"mixture": MIXTURE}, True)):
        config = tiny_config(model=LADDER, **sections)
        fit_mixture_of(config, shards, RunFolder(tmp_path), CPU)  # type: ignore[arg-type]
        assert (tmp_path / "best_model.mixture.safetensors").exists() == is_there
