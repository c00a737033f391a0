import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nlbs.cvae.diff_augment import diff_augment, draw_changes
from nlbs.errors import ConfigError
from nlbs.train import sharpen, start
from nlbs.train.config import SharpeningConfig, resolved_config
from nlbs.train.sharpen import TERMS, Sharpener, last_weights
from tests.train.conftest import tiny_config
from tests.train.test_loop import CPU, metrics, train, weights

#: A small one of what the preset nlbs has.
LADDER: dict[str, Any] = {
    "decoder": {
        "use_skip_connections": False, "stochastic_skips": [2, 1], "clean_head": True, "head_channels": 8,
        "film_starts_neutral": True,
    },
    "conditional_prior": True, "learned_scale": True, "latent_in_film": True,
}  # fmt: skip
PHASE = {
    "start": 0.5,
    "channels": 4,
    "lead_steps": 0,
}  #: of 15 steps those from the eighth on (counted from 0)
FIRST = 8


def sharpened(phase: dict[str, Any] = PHASE, **training: Any) -> dict[str, Any]:
    loss = {"kl_anneal_epochs": 2, "level_weights": []}
    return {"model": LADDER, "training": {"sharpening": phase, "ema_decay": 0.5, "loss": loss} | training}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("sharpened")
    train(folder, **sharpened())
    return folder


def discriminator_of(folder: Path) -> dict[str, Tensor]:
    state = torch.load(folder / "last_state.pt", weights_only=True)
    found: dict[str, Tensor] = state["more"]["sharpener"]["discriminator"]
    return found


@pytest.mark.parametrize("stop", [5, FIRST, FIRST + 1, 12])
def test_a_sharpened_run_stopped_and_resumed_equals_an_undisturbed_one_to_the_bit(
    undisturbed: Path, tmp_path: Path, stop: int
) -> None:
    train(tmp_path, **sharpened(max_steps=stop))
    train(tmp_path, **sharpened())
    for name in ("last_model.safetensors", "best_model.safetensors"):
        assert weights(tmp_path, name) == weights(undisturbed, name)
    found, expected = discriminator_of(tmp_path), discriminator_of(undisturbed)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert metrics(tmp_path, "train") == metrics(undisturbed, "train")
    # The stop itself leaves a row of an epoch that was cut.
    assert metrics(tmp_path, "epoch")[-1] == metrics(undisturbed, "epoch")[-1]


def test_until_the_phase_begins_the_run_is_one_without_it_to_the_bit(
    undisturbed: Path, tmp_path: Path
) -> None:
    plain = sharpened()
    plain["training"] = plain["training"] | {"sharpening": None}
    train(tmp_path, **plain)
    found, without = metrics(undisturbed, "train"), metrics(tmp_path, "train")
    assert found[:FIRST] == without[:FIRST]
    assert (
        found[FIRST]["reconstruction"] == without[FIRST]["reconstruction"]
    )  # the first step, before it moves
    assert found[FIRST + 1]["reconstruction"] != without[FIRST + 1]["reconstruction"]
    assert [set(TERMS) <= set(row) for row in found] == [False] * FIRST + [True] * (15 - FIRST)
    assert not any(set(TERMS) & set(row) for row in without)
    assert all(math.isfinite(row[name]) for row in found[FIRST:] for name in TERMS)


def test_the_discriminator_learns_ahead_of_the_model(undisturbed: Path, tmp_path: Path) -> None:
    train(tmp_path, **sharpened(PHASE | {"lead_steps": 4}, max_steps=FIRST + 1))
    opponent, moved = discriminator_of(tmp_path), weights(tmp_path)
    plain = sharpened(None, max_steps=FIRST + 1)  # type: ignore[arg-type]
    train(tmp_path / "plain", **plain)
    assert moved == weights(tmp_path / "plain")  # the first step is without its weight
    train(tmp_path, **sharpened(PHASE | {"lead_steps": 4}, max_steps=FIRST + 2))
    assert not torch.equal(discriminator_of(tmp_path)["layers.0.bias"], opponent["layers.0.bias"])
    train(tmp_path / "plain", **sharpened(None, max_steps=FIRST + 2))  # type: ignore[arg-type]
    assert weights(tmp_path) != weights(tmp_path / "plain")


def test_the_weight_rises_straight_over_the_lead() -> None:
    model, sharpener = made_sharpener(0.0, lead_steps=4)
    pixels, given = batch()
    pulled = []
    for sharpener.steps in (0, 2, 4, 9):
        made = model(pixels, given, torch.zeros(8, model.num_latents)).reconstruction
        error = (made - pixels).abs().mean()
        alone = torch.autograd.grad(error, model.output.weight, retain_graph=True)[0]
        model.zero_grad()
        sharpener.backward(error, made, pixels, given, seed=0)
        pulled.append((model.output.weight.grad - alone).norm() / alone.norm())
    assert [float(pull) for pull in pulled] == pytest.approx([0, 0.15, 0.3, 0.3], rel=1e-3, abs=1e-6)


def test_an_epochs_row_has_the_means_over_the_steps_of_the_phase(undisturbed: Path) -> None:
    rows, epochs = metrics(undisturbed, "train"), metrics(undisturbed, "epoch")
    assert "train_adversarial" not in epochs[0]
    for epoch, steps in ((1, rows[FIRST:10]), (2, rows[10:])):
        for name in TERMS:
            mean = sum(row[name] for row in steps) / len(steps)
            assert epochs[epoch][f"train_{name}"] == pytest.approx(mean)


def made_sharpener(on_prior: float, lead_steps: int = 0) -> tuple[Any, Sharpener]:
    config = tiny_config(
        model=LADDER,
        training={"sharpening": PHASE | {"on_prior": on_prior, "weight": 0.3, "lead_steps": lead_steps}},
    )
    network, _ = start.build(config, CPU)
    return network.train(), Sharpener(config, network)


def batch(count: int = 8) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    names = ("view", "laterality", "age_bin", "cancer", "false_positive")
    given = {name: torch.randint(-1, 2, (count,), generator=generator) for name in names}
    return torch.rand(count, 1, 16, 16, generator=generator) * 2 - 1, given


@pytest.mark.parametrize("on_prior", [0.0, 0.4])
def test_the_gradients_are_those_of_the_losses_written_out(on_prior: float) -> None:
    model, sharpener = made_sharpener(on_prior)
    pixels, given = batch()
    noise = torch.randn(8, model.num_latents, generator=torch.Generator().manual_seed(1))
    output = model(pixels, given, noise)
    total = 3 * (output.reconstruction - pixels).abs().mean() + 0.01 * output.kl.mean()
    found = sharpener.backward(total, output.reconstruction, pixels, given, seed=9)
    of_model = gradients(model)

    # The same in one graph, with the adaptive weight as a constant, and no gradient cut at the images.
    model.zero_grad()
    opponent = made_sharpener(on_prior)[1].discriminator
    generator = torch.Generator().manual_seed(9)
    levels = [torch.randn((8, *shape), generator=generator) for shape in model.latent_shapes]
    changes = draw_changes(8, 16, generator)
    output = model(pixels, given, noise)
    images, shares = [output.reconstruction], [1.0]
    if on_prior:
        images, shares = [output.reconstruction, model.draw(levels, given)], [1 - on_prior, on_prior]

    def judged(batches: list[Tensor]) -> list[Tensor]:
        """The logits of each batch; in one pass, as each pass moves the spectral norms."""
        shown = torch.cat([diff_augment(x, changes) for x in batches])
        codes = {name: torch.cat([code] * len(batches)) for name, code in given.items()}
        return list(opponent(shown, codes).split(8))

    adversarial = -sum(share * some.mean() for share, some in zip(shares, judged(images), strict=True))
    error = 3 * (output.reconstruction - pixels).abs().mean()
    of_error, of_adversary = (
        torch.autograd.grad(loss, model.output.weight, retain_graph=True)[0].square().sum().sqrt().item()
        for loss in (error, adversarial)
    )
    (error + 0.01 * output.kl.mean() + 0.3 * of_error / of_adversary * adversarial).backward()
    assert float(found["adversarial"]) == pytest.approx(adversarial.item(), rel=1e-5)
    assert float(found["adversarial_weight"]) == pytest.approx(of_error / of_adversary, rel=1e-3)
    expected = gradients(model)
    assert list(of_model) == list(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(of_model[name], gradient, rtol=1e-3, atol=1e-5, msg=name)

    opponent.zero_grad()
    real, *made = judged([pixels, *(x.detach() for x in images)])
    loss = (1 - real).clamp(min=0).mean()
    for share, some in zip(shares, made, strict=True):
        loss = loss + share * (1 + some).clamp(min=0).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    expected = gradients(opponent)
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in expected.values()))
    assert float(found["discriminator"]) == pytest.approx(loss.item(), rel=1e-5)
    assert float(found["discriminator_norm"]) == pytest.approx(norm, rel=1e-4)
    for name, gradient in gradients(sharpener.discriminator).items():
        torch.testing.assert_close(gradient, expected[name] / max(norm, 1), rtol=1e-3, atol=1e-5, msg=name)


def gradients(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: x.grad.clone() for name, x in network.named_parameters() if x.grad is not None}


def test_a_discriminator_learns_to_tell_real_from_made() -> None:
    model, sharpener = made_sharpener(0.5)
    pixels, given = batch()
    losses = []
    for group in sharpener.optimizer.param_groups:
        group["lr"] = 0.01
    for seed in range(60):
        made = model(pixels, given).reconstruction
        losses.append(float(sharpener.backward(made.mean(), made, pixels, given, seed)["discriminator"]))
        sharpener.step()
    assert losses[0] == pytest.approx(2, abs=0.2)  # logits near 0
    assert sum(losses[-5:]) / 5 < 1


def test_an_adversarial_step_that_is_not_finite_is_skipped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path, **sharpened(max_steps=FIRST + 1))
    before, opponent = weights(tmp_path), discriminator_of(tmp_path)
    monkeypatch.setattr(
        sharpen, "discriminator_loss", lambda real, made: (real.mean() + made.mean()) * math.nan
    )
    assert train(tmp_path, **sharpened(max_steps=FIRST + 2)).skipped == 1
    assert weights(tmp_path) == before
    after = discriminator_of(tmp_path)
    learned = [name for name in after if not name.endswith(("_u", "_v"))]  # these follow the weights
    assert all(torch.equal(after[name], opponent[name]) for name in learned)
    monkeypatch.undo()
    monkeypatch.setattr(sharpen, "generator_loss", lambda made: made.mean() * math.inf)
    assert train(tmp_path, **sharpened(max_steps=FIRST + 3)).skipped == 2
    assert weights(tmp_path) == before


def test_once_it_has_begun_the_newest_weights_are_the_best_whatever_the_loss(tmp_path: Path) -> None:
    spoiling = sharpened(PHASE | {"weight": 300.0, "start": 0.4}, ema_decay=None, learning_rate=0.02)
    progress = train(tmp_path, **spoiling)
    losses = [row["val_total"] for row in metrics(tmp_path, "epoch")]
    assert losses[-1] > min(losses)
    assert progress.best_epoch == 3
    assert weights(tmp_path, "best_model.safetensors") == weights(tmp_path)


def test_it_can_be_taken_up_changed_and_left_until_it_begins(undisturbed: Path, tmp_path: Path) -> None:
    plain = sharpened(max_steps=6)
    plain["training"] = plain["training"] | {"sharpening": None}
    train(tmp_path, **plain)
    train(tmp_path, **sharpened(PHASE | {"channels": 2, "start": 0.9}, max_steps=7))
    train(tmp_path, **sharpened())
    assert weights(tmp_path) == weights(undisturbed)
    for other in (None, PHASE | {"weight": 0.1}):
        with pytest.raises(ConfigError, match=r"was trained with training.sharpening\.\w+ = "):
            train(tmp_path, **sharpened(other, epochs=4))  # type: ignore[arg-type]


def test_a_run_past_its_start_does_not_take_it_up(tmp_path: Path) -> None:
    plain = sharpened(max_steps=10)
    plain["training"] = plain["training"] | {"sharpening": None}
    train(tmp_path, **plain)
    with pytest.raises(ConfigError, match=r"training.sharpening.start = None, now it is 0.5"):
        train(tmp_path, **sharpened())


@pytest.mark.parametrize(
    ("option", "value"),
    [("precision", "float16"), ("accumulate", 2), ("compile", True), ("early_stop_epochs", 3)],
)
def test_what_does_not_go_with_it_is_refused_in_words(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"training.sharpening does not go with training.{option}"):
        tiny_config(training={"sharpening": {}, option: value})


def test_bfloat16_and_the_guides_own_network_are_sharpened(tmp_path: Path) -> None:
    training = {"sharpening": {"start": 0.0, "channels": 4}, "max_steps": 3, "precision": "bfloat16"}
    assert train(tmp_path, training=training).skipped == 0
    assert all(math.isfinite(row[name]) for row in metrics(tmp_path, "train") for name in TERMS)


def test_the_last_layer_is_the_one_that_the_image_comes_out_of() -> None:
    headed = LADDER | {"decoder": LADDER["decoder"] | {"stochastic_skips": [2]}}
    for model, name in (
        (LADDER, "output.weight"),
        (headed, "head.deconv.weight"),
        ({}, "decoder.1.film.linear.weight"),
    ):
        network, _ = start.build(tiny_config(model=model), CPU)
        assert last_weights(network) is dict(network.named_parameters())[name]


def test_the_section_is_off_by_default_and_a_part_of_it_is_enough() -> None:
    assert resolved_config("nlbs", None, {}).training.sharpening is None
    assert (
        resolved_config("nlbs", None, {"training": {"sharpening": {}}}).training.sharpening
        == SharpeningConfig()
    )
    with pytest.raises(ConfigError, match="did you mean 'on_prior'"):
        resolved_config("nlbs", None, {"training": {"sharpening": {"on_priors": 1}}})
