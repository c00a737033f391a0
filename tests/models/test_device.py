"""In which precision a device is quick, by what torch says that it has."""

import pytest
import torch

from nlbs.models.device import quick_precision

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
