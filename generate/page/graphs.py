"""The networks of a sampler as graphs of ONNX, of one patch, each held against torch."""

import importlib.util
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlbs.errors import CheckpointError, ConfigError
from nlbs.models.drawing import Sampler, draw_noise
from nlbs.models.passes import Portable

GRAPHS = ("pass.onnx", "weak.onnx", "finish.onnx")  #: the second where the sampler has a weak network
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_MOST_APART = 1e-3  #: of a graph and torch, on [-1, 1]: an eighth of a grey level
#: The inputs of a graph by name.
Inputs = dict[str, Tensor]


def check_packages() -> None:
    """Raise ConfigError where graphs cannot be made."""
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise ConfigError(f"a page needs the packages {', '.join(missing)}: pip install 'nlbs-cvae[page]'")


class _Graph(nn.Module):
    """A function over some networks, whose weights it owns, of named inputs."""

    def __init__(
        self, call: Callable[[Inputs], Tensor], networks: Sequence[nn.Module], names: Sequence[str]
    ) -> None:
        super().__init__()
        self.call, self.networks, self.names = call, nn.ModuleList(networks), names

    def forward(self, *values: Tensor) -> Tensor:
        return self.call(dict(zip(self.names, values, strict=True)))


def graphs_of(sampler: Sampler, portable: Portable) -> tuple[dict[str, bytes], float]:
    """Return files of graphs for one patch, and by how much they and torch differ at most."""
    schema, passes = sampler.schema, portable.passes
    codes = {f"condition{i}": torch.from_numpy(v) for i, v in enumerate(schema.unknown(1).values())}
    noise = {
        f"noise{i}": torch.from_numpy(level)[None]
        for i, level in enumerate(draw_noise(0, 0, sampler.noise_shapes))
    }

    def told(inputs: Inputs) -> dict[str, Tensor]:
        return {name: inputs[f"condition{i}"] for i, name in enumerate(schema.names)}

    def finish(inputs: Inputs) -> Tensor:
        return portable.finish(inputs["x"], [inputs[name] for name in noise], told(inputs))

    graphs: dict[str, bytes] = {}
    x, worst = torch.zeros(1, 1), 0.0
    if passes is not None:
        x = torch.cat([level.flatten(1) for level in list(noise.values())[: passes.levels]], dim=1)
        at = torch.tensor([passes.at[len(passes.at) // 2]], dtype=torch.float32)
        for name, network in zip(GRAPHS, (passes.network, passes.weak), strict=False):
            if network is not None:
                one_pass = _pass(network, told)
                graphs[name], apart = _exported(one_pass, sampler, {"x": x, "at": at, **codes})
                worst = max(worst, apart)
    graphs[GRAPHS[-1]], apart = _exported(finish, sampler, {"x": x, **noise, **codes})
    return graphs, max(worst, apart)


def _pass(network: Any, told: Callable[[Inputs], Mapping[str, Tensor]]) -> Callable[[Inputs], Tensor]:
    return lambda inputs: network(inputs["x"], inputs["at"], told(inputs))


def _exported(call: Callable[[Inputs], Tensor], sampler: Sampler, inputs: Inputs) -> tuple[bytes, float]:
    """Return a graph of ONNX and by how much it differs from torch.

    Raises:
        CheckpointError: by more than rounding.
    """
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoOperator

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which nothing here needs
    graph = _Graph(call, sampler.networks, list(inputs)).eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about its own insides
        program: Any = torch.onnx.export(
            graph,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=["out"],
            dynamo=True,
            verbose=False,
            custom_translation_table={torch.ops.aten.acos.default: _acos},
        )
        expected = call(inputs).numpy()
    data: bytes = _bare(program.model_proto).SerializeToString()
    try:
        session = onnxruntime.InferenceSession(data)
    except NoOperator as error:
        raise ConfigError(f"a browser cannot run this model: {error}; take one with a flow") from None
    wanted = {one.name for one in session.get_inputs()}
    (found,) = session.run(None, {name: value.numpy() for name, value in inputs.items() if name in wanted})
    apart = float(np.abs(found - expected).max())
    if not apart <= _MOST_APART:
        raise CheckpointError(
            f"a graph of this model and torch differ by {apart:.2g}, expected {_MOST_APART:g} at most: make the page "
            "with the versions of constraints.txt, or tell the authors"
        )
    return data, apart


def _bare(model: Any) -> Any:
    """Return a graph without what the exporter notes of its making: lines of code, and where they lie."""
    graph = model.graph
    for part in (
        model,
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
    ):
        part.doc_string = ""
        del part.metadata_props[:]
    return model


def _acos(x: Any) -> Any:
    """Return acos(x) = 2 atan sqrt((1 - x) / (1 + x)): runtimes have float32 alone, which the latter is exact in."""
    import onnx
    import onnxscript

    op: Any = onnxscript.opset18
    one = op.CastLike(op.Constant(value_float=1.0), x)
    tangent = op.Sqrt(op.Div(op.Sub(one, x), op.Add(one, x)))
    half = op.Atan(op.Cast(tangent, to=onnx.TensorProto.FLOAT))
    return op.CastLike(op.Add(half, half), x)
