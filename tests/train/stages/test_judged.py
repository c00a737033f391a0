"""Whether a flow learns what patches are like or the patches: its loss on both splits."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nlbs.cvae.model import ConditionalVAE
from nlbs.models.stages import flow_stage
from nlbs.models.stages.fitted import open_stage
from nlbs.models.stages.flow_stage import FlowConfig
from nlbs.train.data.stream import PatchStream
from nlbs.train.run_folder import RunFolder
from nlbs.train.stages.judged import Judged, judged
from nlbs.train.stages.run import run_stages
from tests.train.conftest import MemoryShards, tiny_config
from tests.train.stages.conftest import LADDER
from tests.train.test_loop import train

FLOW: dict[str, Any] = {
    "network": {"widths": [16, 8], "blocks": 1, "attention": 1},
    "patches": 96,
    "batch_size": 8,
}


def stream(split: str = "train", **shards: int) -> PatchStream:
    return PatchStream(MemoryShards(**shards), 4, 0, split, order="sequential", drop_last=False)  # type: ignore[arg-type]


def test_a_loss_far_below_that_of_others_is_learning_by_heart() -> None:
    fine, bad = Judged(0.60, 0.65, 99), Judged(0.39, 0.89, 99)
    plain, told, other = (
        SimpleNamespace(config=c, distort=d)
        for c, d in ((FlowConfig(), 0.0), (FlowConfig(), 0.5), (None, 0.0))
    )
    given: tuple[Any, ...] = (flow_stage.FLOW, "val")
    assert fine.lines(*given, plain) == ["flow: loss 0.600 on training patches, 0.650 on those of 'val'"]  # type: ignore[arg-type]
    assert not fine.by_heart and not Judged(0.7, 0.6, 99).by_heart and bad.by_heart
    assert not Judged(0.39, 0.89, 20).by_heart
    _, warning = bad.lines(*given, plain)  # type: ignore[arg-type]
    assert warning.startswith("Warning: the flow learns its training patches by heart")
    assert "(flow.patches), or set flow.network.distort to 0.5" in warning
    for one in (told, other):  # it is distorted already, or cannot be
        assert bad.lines(*given, one)[1].endswith("(flow.patches)")  # type: ignore[arg-type]


def test_as_many_patches_of_each_split_meet_the_same_noise(run: Path) -> None:
    config = tiny_config(model=LADDER, flow=FLOW)
    model = ConditionalVAE.load_from_checkpoint(run / "best_model.safetensors").requires_grad_(False).eval()
    ((stage, options),) = config.stages
    flow = stage.fresh(options, model).eval()
    seen: list[int] = []
    terms = flow.terms
    flow.terms = lambda *given: seen.append(len(given[1][0])) or terms(*given)
    same = judged(config, flow, model, stream(), stream())
    assert same.train == same.val == judged(config, flow, model, stream(), stream()).train
    other = judged(config, flow, model, stream(), stream("val"))
    assert seen[-2:] == [7, 7] and other.patches == 7 and other.train != other.val


def test_a_run_says_what_its_flow_has_learnt_and_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(model=LADDER, flow=FLOW)
    train(tmp_path, model=LADDER, flow=FLOW)
    run_stages(config, MemoryShards(), RunFolder(tmp_path), torch.device("cpu"))  # type: ignore[arg-type]
    model = ConditionalVAE.load_from_checkpoint(tmp_path / "best_model.safetensors")
    _, about = open_stage(tmp_path / "best_model.safetensors", flow_stage.FLOW, model)
    losses = (
        f"flow: loss {about['train_loss']:.3f} on training patches, {about['val_loss']:.3f} on those of 'val'"
    )
    assert losses in capsys.readouterr().out
