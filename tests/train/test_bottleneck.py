from dataclasses import replace

import pytest

from nlbs.train.bottleneck import BOTTLENECKS, Rates, Setting, advice, bottleneck, in_words

#: A loader of 10,000, a step of 1,000 that prepares its pixels at 20,000: the step holds up the rest.
STEP = Rates(loader=10_000, step=1_000, together=990, waiting=0.001, preparing=20_000)
CPU = Setting(
    device="cpu", precision="float32", compiled=False, batch_size=32, patch_px=64, resolution=64, dtype="uint8",
    fit="downsample", compression="none", is_remote=False, is_resident=False, preset="guide-small",
    augments=True, cores=4, threads=4,
)  # fmt: skip
CUDA = replace(CPU, device="cuda", used_bytes=3 * 2**30, device_bytes=80 * 2**30)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "step"),
        ({"waiting": 0.04}, "step"),
        ({"loader": 500, "together": 490, "waiting": 0.5}, "loader"),
        (
            {"loader": 1_100, "together": 900, "waiting": 0.06},
            "loader",
        ),  # as quick as the step, but no quicker
        ({"together": 700, "waiting": 0.2}, "processor"),  # quick alone, slow beside the step
        ({"waiting": 0.5}, "step"),  # as quick as the step alone: a GPU was at work while the host waited
        ({"together": 700}, "processor"),  # the step is slower beside the loader
        ({"copy": 2_000, "preparing": 1_900}, "copy"),  # half of a step
        ({"copy": 10_000, "preparing": 2_000}, "augmentation"),
        ({"preparing": 1_500}, "augmentation"),
        ({"copy": 10_000, "preparing": 8_000}, "step"),
    ],
)
def test_the_bottleneck_is_what_the_rest_waits_for(changes: dict[str, float], expected: str) -> None:
    assert bottleneck(replace(STEP, **changes)) == expected


def test_each_bottleneck_is_a_sentence_with_its_figures() -> None:
    rates = replace(STEP, copy=4_000)
    said = {name: in_words(name, rates) for name in BOTTLENECKS}
    assert "the loader could feed 10 of them" in said["step"]
    assert "the step could take 0.1 times as many" in said["loader"]
    assert "it takes 25% of a step" in said["copy"]
    assert "it takes 5% of a step" in said["augmentation"]


@pytest.mark.parametrize("setting", [CPU, CUDA])
@pytest.mark.parametrize("name", BOTTLENECKS)
def test_there_is_advice_for_each_bottleneck(name: str, setting: Setting) -> None:
    assert advice(name, setting)


@pytest.mark.parametrize(
    ("name", "setting", "part"),
    [
        ("loader", replace(CPU, compression="png"), "convert --to tar --compression none"),
        ("loader", replace(CPU, is_remote=True), "--cache-gb"),
        ("loader", replace(CPU, dtype="uint16"), "--dtype uint8"),
        ("loader", replace(CPU, patch_px=256), "reshard --resolution 64"),
        ("loader", CPU, "local disk"),
        ("loader", CUDA, "--resident auto"),
        ("copy", CUDA, "--resident auto"),
        ("copy", replace(CUDA, dtype="uint16"), "--dtype uint8"),
        ("augmentation", CPU, "--no-augment"),
        ("processor", CPU, "OMP_NUM_THREADS=3"),
        ("step", replace(CPU, threads=1), "OMP_NUM_THREADS=4"),
        ("step", replace(CPU, preset="guide"), "--preset guide-small"),
        ("step", CUDA, "a larger --batch-size: 32 patches take 3.0 of the GPU's 80 GiB"),
        ("step", CUDA, "training.compile: true"),
    ],
)
def test_advice_follows_the_setting(name: str, setting: Setting, part: str) -> None:
    assert part in " ".join(advice(name, setting))


@pytest.mark.parametrize(
    ("name", "setting", "part"),
    [
        ("loader", CPU, "convert"),
        ("loader", CPU, "--resident"),
        ("copy", replace(CUDA, is_resident=True), "--resident"),
        ("loader", CPU, "reshard"),
        ("loader", replace(CPU, patch_px=256, fit="crop"), "reshard"),
        ("augmentation", replace(CPU, augments=False), "--no-augment"),
        ("step", CPU, "OMP_NUM_THREADS"),
        ("step", replace(CUDA, used_bytes=60 * 2**30), "--batch-size"),
        ("step", replace(CUDA, compiled=True), "training.compile"),
    ],
)
def test_no_advice_is_what_is_so_already(name: str, setting: Setting, part: str) -> None:
    assert part not in " ".join(advice(name, setting))


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ((("a", 1.5), ("b", 0.9), ("a and b", 2.0)), "a and b: 2.00 times"),
        ((("a", 1.5), ("b", 0.9), ("a and b", 1.52)), "a: 1.50 times"),  # the second change brings nothing
        ((("a", 1.04), ("b", 0.9)), None),
    ],
)
def test_of_the_trials_the_quickest_is_named_and_of_equals_the_simplest(
    trials: tuple[tuple[str, float], ...], expected: str | None
) -> None:
    said = [line for line in advice("step", replace(CUDA, trials=trials)) if "times as quick" in line]
    assert [line.split(" as quick")[0] for line in said] == ([] if expected is None else [expected])
