import pytest
import torch
from torch import nn

from nlbs.train.config import preset, resolved_config
from nlbs.train.memory import SavedBytes, estimate, memory_line
from tests.train.conftest import tiny_config


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_activations_are_what_each_layer_needs_backwards_once_and_without_weights(device: str) -> None:
    with torch.device(device):
        model = nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 2))
        with SavedBytes(model) as saved:
            model(torch.zeros(7, 3))
    # The input of the first layer, of the SiLU and of the last layer, float32.
    assert saved.count == 4 * 7 * (3 + 5 + 5)


def test_weights_count_four_times_with_adam_and_once_more_with_an_average() -> None:
    sizes = estimate(preset("guide-small"))
    weights = 4 * 1_660_517
    assert (sizes["parameters"], sizes["gradients"], sizes["optimiser states"]) == (
        weights,
        weights,
        2 * weights,
    )
    assert "average" not in sizes
    assert estimate(tiny_config(training={"ema_decay": 0.9}))["average"] == sizes_of_tiny()["parameters"]


def sizes_of_tiny(**changes: object) -> dict[str, int]:
    return estimate(tiny_config(**changes))


def test_activations_grow_with_the_part_of_a_batch_that_is_taken_at_a_time() -> None:
    one, two, four = (
        sizes_of_tiny(data={"batch_size": count})[f"activations of {count} patches"] for count in (1, 2, 4)
    )
    assert four - two == 2 * (two - one) > 0
    divided = sizes_of_tiny(data={"batch_size": 4}, training={"accumulate": 2})
    assert divided["activations of 2 patches"] == two


def test_half_precision_halves_activations_but_no_weights() -> None:
    """What stays in float32: the images, and what the loss takes out of autocast."""
    full, half = (sizes_of_tiny(training={"precision": kind}) for kind in ("float32", "bfloat16"))
    name = next(name for name in full if name.startswith("activations"))
    assert 0.5 < half[name] / full[name] < 0.75
    assert half["optimiser states"] == full["optimiser states"]
    line = memory_line(tiny_config(training={"precision": "float16"}))
    assert " MiB at float16 (parameters " in line


def test_the_line_says_that_it_is_an_estimate() -> None:
    assert memory_line(tiny_config()).startswith("memory of training, an estimate: ")


def test_the_way_back_needs_two_fifths_of_the_activations_beside_them() -> None:
    sizes = sizes_of_tiny(data={"batch_size": 4})
    assert sizes["beside them, going backward"] == round(0.4 * sizes["activations of 4 patches"])
    assert f"an estimate: {sum(sizes.values()) / 2**20:,.0f} MiB" in memory_line(
        tiny_config(data={"batch_size": 4})
    )


def test_what_takes_part_late_in_a_run_is_counted() -> None:
    def activations(**loss: float) -> int:
        changed = {"training": {"loss": loss, "precision": "float32"}, "data": {"batch_size": 2}}
        return estimate(resolved_config("latent-diffusion-small", None, changed))["activations of 2 patches"]

    without = activations(adversary_weight=0.0)
    assert activations(adversary_share=0.9) == activations(adversary_share=0.0) > without
