"""In which precision a device is quick, by what torch says that it has."""

import pytest
import torch

from nlbs.errors import ConfigError
from nlbs.models.device import choose_device, quick_precision, require_float64, with_float64

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("bf16", "amx", "expected"),
    [(True, False, "bfloat16"), (False, True, "bfloat16"), (False, False, "float32")],
)
def test_a_processor_without_bfloat16_gets_float32(
    bf16: bool, amx: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert quick_precision(CPU) == expected


def test_a_torch_that_does_not_say_what_a_processor_has_gets_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert quick_precision(CPU) == "float32"


@pytest.mark.parametrize(
    ("bf16", "capability", "expected"),
    [(True, (9, 0), "bfloat16"), (False, (7, 5), "float16"), (False, (6, 1), "float32")],
)
def test_a_card_without_bfloat16_gets_float16_where_it_is_quick(
    bf16: bool, capability: tuple[int, int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert quick_precision(CUDA) == expected


def test_the_gpu_of_an_apple_processor_is_taken_where_it_is_asked_for_and_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match="sees no GPU of an Apple processor"):
        choose_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("mps") == torch.device("mps")
    assert choose_device("auto") == CPU
    assert quick_precision(torch.device("mps")) == "float32"


def test_what_needs_float64_is_refused_or_summed_elsewhere_where_a_device_has_none() -> None:
    assert with_float64(torch.device("mps")) == CPU
    assert with_float64(CUDA) == CUDA
    require_float64(CPU, "the sampler dpm")
    with pytest.raises(ConfigError, match="the sampler dpm computes in float64, which mps has not"):
        require_float64(torch.device("mps"), "the sampler dpm")
