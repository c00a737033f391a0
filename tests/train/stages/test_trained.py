"""The flow that a run ends with.

Also covers: train/stages/encoded.py, train/stages/run.py.
"""

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nlbs.cvae.model import ConditionalVAE
from nlbs.errors import ConfigError
from nlbs.manifests.conditions import UNKNOWN
from nlbs.manifests.schema import NLBS
from nlbs.models.distortion import DISTORTIONS, TOLD
from nlbs.models.stages import flow_stage
from nlbs.models.stages.fitted import load_stage
from nlbs.models.stages.flow import LatentFlow
from nlbs.models.stages.flow_sampler import FlowSampler
from nlbs.train.config import TrainConfig
from nlbs.train.data.stream import PatchStream
from nlbs.train.run_folder import RunFolder
from nlbs.train.stages.encoded import Encoded, EncodedPatches
from nlbs.train.stages.run import fit_stage, run_stages
from nlbs.train.stages.trained import LatentFit
from tests.conftest import some
from tests.train.conftest import MemoryShards, tiny_config
from tests.train.stages.conftest import CPU, LADDER
from tests.train.test_loop import train

FLOW: dict[str, Any] = {
    "network": {"widths": [16, 8], "blocks": 1, "attention": 1},
    "patches": 96,
    "batch_size": 8,
}


def fit_of(config: TrainConfig, folder: Path, interrupted: Event | None = None) -> Path:
    """Fits all stages of a configuration; gives the file of the first."""
    run = RunFolder(folder)
    model = ConditionalVAE.load_from_checkpoint(run.best_model).requires_grad_(False)
    stream = PatchStream(MemoryShards(), batch_size=8)  # type: ignore[arg-type]
    given = (model, stream, run, interrupted or Event())
    first, *_ = [fit_stage(config, stage, options, *given) for stage, options in config.stages]
    return first


def fit(folder: Path, interrupted: Event | None = None, **changes: Any) -> Path:
    return fit_of(tiny_config(model=LADDER, flow=FLOW | changes), folder, interrupted)


def fit_both(folder: Path, interrupted: Event | None = None) -> Path:
    return fit_of(tiny_config(model=LADDER, flow=FLOW, autoguidance={"share": 0.25}), folder, interrupted)


def weights(path: Path) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in load_file(path).items()}


class AfterSteps(Event):
    """Is set once it was asked so often."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = 2 * steps  # asked twice a step

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_flow_lies_beside_the_best_model_and_belongs_to_it(run: Path) -> None:
    path = fit(run)
    assert path == run / "best_model.flow.safetensors"
    model = ConditionalVAE.load_from_checkpoint(run / "best_model.safetensors")
    flow = load_stage(run, flow_stage.FLOW, model)
    batch = PatchStream(MemoryShards(), batch_size=40).read(0, 0)  # type: ignore[arg-type]
    pixels = batch.pixels.float() / 127.5 - 1
    scaled = flow.scaled(model.infer(pixels, batch.conditions))
    assert all(level.abs().mean() < 5 for level in some(scaled))
    assert not torch.equal(flow.mean0, torch.zeros_like(flow.mean0))


@pytest.mark.parametrize(("stop", "distort"), [(1, 0.0), (7, 0.0), (5, 0.5)])
def test_a_fit_that_was_stopped_goes_on_to_the_same_bits(
    ladder_run: Path, tmp_path: Path, stop: int, distort: float
) -> None:
    whole, parts = (shutil.copytree(ladder_run, tmp_path / name) for name in ("whole", "parts"))
    changes = {"network": {**FLOW["network"], "distort": distort}}
    expected = weights(fit(whole, **changes))
    with pytest.raises(KeyboardInterrupt):
        fit(parts, AfterSteps(stop), **changes)
    assert not (parts / "best_model.flow.safetensors").exists()
    assert weights(fit(parts, **changes)) == expected


def test_a_weak_flow_is_fitted_beside_the_flow_to_fewer_patches_at_its_scale(run: Path) -> None:
    path, weak_path = fit(run), run / "best_model.weak-flow.safetensors"
    assert not weak_path.exists()
    alone = weights(path)
    assert fit_both(run) == path  # of a finished run too, and the flow stays
    assert weights(path) == alone
    assert torch.load(run / "weak_flow_state.pt", weights_only=True)["step"] == 3  # 24 patches of 96
    model = ConditionalVAE.load_from_checkpoint(run / "best_model.safetensors")
    flow, weak = (load_stage(run, stage, model) for stage in (flow_stage.FLOW, flow_stage.WEAK_FLOW))
    assert weak.is_scaled_like(flow)
    assert weights(weak_path) != alone
    assert FlowSampler(model, flow, weak=weak, autoguidance=1.5).networks[2] is weak


def test_a_weak_flow_may_be_narrower_and_has_the_levels_of_the_flow(run: Path) -> None:
    def config(widths: list[int]) -> TrainConfig:
        return tiny_config(model=LADDER, flow=FLOW, autoguidance={"share": 0.25, "widths": widths})

    fit_of(config([8, 8]), run)
    model = ConditionalVAE.load_from_checkpoint(run / "best_model.safetensors")
    flow, weak = (load_stage(run, stage, model) for stage in (flow_stage.FLOW, flow_stage.WEAK_FLOW))
    assert weak.config.widths == (8, 8)
    assert weak.config.blocks == flow.config.blocks
    assert weak.is_scaled_like(flow)
    sampler = FlowSampler(model, flow, 2, weak=weak, autoguidance=1.5)
    conditions = {name: torch.full((2,), UNKNOWN) for name in NLBS.names}
    drawn = sampler.draw([torch.randn(2, *shape) for shape in sampler.noise_shapes], conditions)
    assert bool(drawn.isfinite().all())
    with pytest.raises(ConfigError, match=r"autoguidance.widths has 1 numbers and flow.network.widths 2"):
        config([8]).stages  # noqa: B018


def test_what_is_damaged_is_fitted_anew(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit_both(run)
    paths = [run / f"best_model.{name}.safetensors" for name in ("flow", "weak-flow")]
    before = [weights(path) for path in paths]
    for path in some(paths):
        path.write_bytes(b"")
        capsys.readouterr()
        fit_both(run)
        assert [weights(path) for path in paths] == before
        assert capsys.readouterr().out.count("it is fitted anew") == 1


@pytest.mark.parametrize("bytes_there", [b"", b"no state", None])
def test_a_state_that_is_damaged_is_left_and_the_fit_begins_anew(
    run: Path, capsys: pytest.CaptureFixture[str], bytes_there: bytes | None
) -> None:
    path = fit(run)
    before = weights(path)
    path.unlink()
    state = run / "flow_state.pt"
    state.write_bytes(state.read_bytes()[:-100] if bytes_there is None else bytes_there)
    capsys.readouterr()
    assert weights(fit(run)) == before
    said = capsys.readouterr().out
    assert "flow_state.pt is damaged" in said
    assert "the flow is fitted anew" in said


def test_a_weak_flow_of_another_flow_is_fitted_anew(run: Path) -> None:
    """As many patches of it, but another flow beside it: its state and its file are of no use."""
    fit_both(run)
    weak_path = run / "best_model.weak-flow.safetensors"
    before = weights(weak_path)
    config = tiny_config(model=LADDER, flow=FLOW | {"patches": 97}, autoguidance={"share": 24 / 97})
    assert [options.patches for _, options in config.stages] == [97, 24]
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "nlbs.train.stages.trained.LatentFit._take",
            lambda fit, batch, take=LatentFit._take: (seen.append(fit.steps), take(fit, batch))[1],
        )
        fit_of(config, run)
    assert seen == [13] * 13 + [3] * 3
    assert weights(weak_path) == before  # of the same patches with the same noise


def test_a_weak_flow_that_is_no_longer_asked_for_is_named(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit_both(run)
    capsys.readouterr()
    shards: Any = MemoryShards()
    run_stages(tiny_config(model=LADDER, flow=FLOW), shards, RunFolder(run), CPU)
    assert "best_model.weak-flow.safetensors stays" in capsys.readouterr().out


def test_a_new_flow_takes_the_weak_one_of_the_flow_before_away(run: Path) -> None:
    fit_both(run)
    weak_path = run / "best_model.weak-flow.safetensors"
    fit(run)  # the same flow: nothing is fitted
    assert weak_path.exists()
    fit(run, learning_rate=0.01)
    assert not weak_path.exists()


@pytest.mark.parametrize("stop", [5, 11, 12])  # within the 12 steps of the flow, and the 3 of the weak one
def test_a_weak_fit_that_was_stopped_goes_on_to_the_same_bits(
    ladder_run: Path, tmp_path: Path, stop: int
) -> None:
    whole, parts = (shutil.copytree(ladder_run, tmp_path / name) for name in ("whole", "parts"))
    fit_both(whole)
    with pytest.raises(KeyboardInterrupt):
        fit_both(parts, AfterSteps(stop))
    fit_both(parts)
    for name in ("flow", "weak-flow"):
        one, other = (folder / f"best_model.{name}.safetensors" for folder in (whole, parts))
        assert weights(one) == weights(other)


def test_a_fit_that_is_done_is_not_done_again_and_one_with_other_options_is(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = weights(fit(run))
    capsys.readouterr()
    assert weights(fit(run)) == first
    assert "starts" not in capsys.readouterr().out
    assert weights(fit(run, learning_rate=0.01)) != first
    assert "it is fitted anew" in capsys.readouterr().out


def test_the_fit_learns(run: Path) -> None:
    """A velocity of 0 scores E(x1 - x0)^2 = 2; of latents without structure, the best one scores
    E[2 - (2t - 1)^2 / (t^2 + (1 - t)^2)], 1.74 over these t.
    """
    fit(run, patches=3200, batch_size=16, learning_rate=0.02)
    assert torch.load(run / "flow_state.pt", weights_only=True)["mean_loss"] < 1.88


def test_a_flow_is_told_of_distortions_and_draws_without(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def watched(flow: LatentFlow, *given: Any, terms: Any = LatentFlow.terms) -> dict[str, torch.Tensor]:
        seen.append(given[2])
        return terms(flow, *given)

    monkeypatch.setattr(LatentFlow, "terms", watched)
    plain = weights(fit(run))
    assert all(TOLD not in codes for codes in some(seen))
    seen.clear()
    fit(run, network={**FLOW["network"], "distort": 0.5})
    told = torch.cat([codes[TOLD] for codes in seen])
    assert told.shape == (96, DISTORTIONS) and 0.1 < (told != 0).float().mean() < 0.6
    model = ConditionalVAE.load_from_checkpoint(run / "best_model.safetensors")
    flow = load_stage(run, flow_stage.FLOW, model)
    assert weights(run / "best_model.flow.safetensors")["mean0"] == plain["mean0"]  # of patches as they are
    conditions = {name: codes[:2] for name, codes in seen[0].items() if name != TOLD}
    noise = [torch.randn(2, *shape) for shape in flow.shapes]
    velocity, half = flow(noise, torch.full((2,), 0.5), conditions), torch.full((2,), 0.5)
    for value, same in ((0.0, True), (1.0, False)):
        codes = conditions | {TOLD: torch.full((2, DISTORTIONS), value)}
        assert torch.equal(flow(noise, half, codes)[0], velocity[0]) is same


class KnownPatches(EncodedPatches):
    """Patches all of whose conditions are known."""

    def pools(self, first: int) -> Iterator[Encoded]:
        for pool in super().pools(first):
            codes = {name: torch.zeros_like(code) for name, code in pool.conditions.items()}
            yield Encoded(pool.levels, codes)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [((0.0, 0.0), (0, 0)), ((0.5, 0.0), (0.5, 0.5)), ((0.25, 0.2), (0.4, 0.25 + 0.75 * 0.2**5))],
)
def test_conditions_are_hidden_all_at_once_and_each_by_itself(
    run: Path, monkeypatch: pytest.MonkeyPatch, rates: tuple[float, float], expected: tuple[float, float]
) -> None:
    """One is hidden with 1 - (1 - all)(1 - each), and all five are with all + (1 - all) each^5."""
    seen: list[dict[str, torch.Tensor]] = []

    def watched(flow: LatentFlow, *given: Any, terms: Any = LatentFlow.terms) -> dict[str, torch.Tensor]:
        seen.append(given[2])
        return terms(flow, *given)

    monkeypatch.setattr(LatentFlow, "terms", watched)
    monkeypatch.setattr("nlbs.train.stages.trained.EncodedPatches", KnownPatches)
    fit(run, unknown_rate=rates[0], each_unknown_rate=rates[1], patches=800, batch_size=32)
    hidden = torch.stack([torch.cat([codes[name] for codes in seen]) == UNKNOWN for name in NLBS.names])
    for told, share in ((hidden[0], expected[0]), (hidden[3], expected[0]), (hidden.all(dim=0), expected[1])):
        tolerance = 4 * (share * (1 - share) / len(told)) ** 0.5
        assert float(told.float().mean()) == pytest.approx(share, abs=tolerance)


def test_a_run_goes_on_with_other_options_of_its_flow(tmp_path: Path) -> None:
    train(tmp_path, model=LADDER, flow=FLOW, training={"max_steps": 3})
    assert (
        train(tmp_path, model=LADDER, flow=FLOW | {"patches": 8}, training={"max_steps": 4}).total_steps == 4
    )
    assert train(tmp_path, model=LADDER, training={"max_steps": 5}).total_steps == 5
    more = {"flow": FLOW, "autoguidance": {"share": 0.25}}
    assert train(tmp_path, model=LADDER, training={"max_steps": 6}, **more).total_steps == 6


def test_pools_hold_each_patch_once_and_go_on_where_they_are_asked_to(run: Path) -> None:
    model = ConditionalVAE.load_from_checkpoint(run / "best_model.safetensors").eval()
    stream = PatchStream(MemoryShards(), batch_size=8)  # type: ignore[arg-type]
    patches = EncodedPatches(tiny_config(model=LADDER), model, stream, batches=2)
    three = list(islice(patches.pools(0), 3))
    assert [len(pool) for pool in three] == [16, 16, 16]
    again = next(patches.pools(2))
    for level, expected in zip(again.levels, three[2].levels, strict=True):
        assert torch.equal(level, expected)
    assert not torch.equal(three[0].levels[1], three[1].levels[1])
    for name, codes in some(again.conditions.items()):
        assert torch.equal(codes, three[2].conditions[name])


def test_a_pool_is_seen_as_often_as_asked_for_each_time_in_another_order(run: Path) -> None:
    config = tiny_config(model=LADDER, flow=FLOW | {"reuse": 3, "patches": 48})
    model = ConditionalVAE.load_from_checkpoint(run / "best_model.safetensors").eval()
    stream = PatchStream(MemoryShards(), batch_size=8)  # type: ignore[arg-type]
    ((stage, options),) = config.stages
    steps = LatentFit(config, stage, options, model, stream, run / "flow_state.pt")
    pool = next(EncodedPatches(config, model, stream, 2).pools(0)).levels[0]
    seen = [batch.levels[0] for batch in islice(steps.batches(), 6)]
    passes = [torch.cat(seen[start : start + 2]) for start in (0, 2, 4)]
    for one in passes:
        assert sorted(one[:, 0].tolist()) == sorted(pool[:, 0].tolist())
    assert not torch.equal(passes[0], passes[1])
