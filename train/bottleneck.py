"""Which part of training holds up the others, and what would help: pure functions of what was measured."""

from collections.abc import Callable
from dataclasses import dataclass

WAITING = 0.05  #: from this share of a run's time on, waiting for data is worth a change
_CLEARLY = 0.85  # of the step's rate alone: below it the step is slower beside the loader
_COPY = 0.3  # of a step
_PREPARING = 0.4  # of a step
_GAIN = 1.05  # a trial that is not so many times as quick is no advice
_GIB = 2**30
_NOTHING_CHEAP = "nothing cheap is left: a smaller model, or a faster machine"


@dataclass(frozen=True)
class Rates:
    """What was measured: patches per second, unless said otherwise."""

    loader: float  #: batches that nobody uses
    step: float  #: the same batch again and again: from the host's memory to the optimiser's step
    together: float  #: as a run does it
    waiting: float  #: share of the time together that is spent waiting for the loader
    preparing: float  #: the step's pixels alone: copy, floats, size, augmentation
    copy: float | None = None  #: from the host to the device; None: they are one


@dataclass(frozen=True)
class Setting:
    """What the rates belong to, as far as advice depends on it."""

    device: str  #: "cpu" or "cuda"
    precision: str
    compiled: bool
    batch_size: int
    patch_px: int  #: edge of the patches in the shards
    resolution: int  #: edge of the model's images
    dtype: str  #: of the patches
    fit: str
    compression: str
    is_remote: bool
    is_resident: bool  #: all patches lie on the device
    preset: str
    augments: bool
    cores: int
    threads: int  #: of them, that the step uses on a CPU
    used_bytes: int | None = None  #: of the GPU's memory at most; None: no GPU
    device_bytes: int | None = None  #: that it has
    #: what was tried on the step alone -> how many times as quick it was
    trials: tuple[tuple[str, float], ...] = ()


#: bottleneck -> what a person reads
BOTTLENECKS = {
    "loader": "The loader is the bottleneck: the step could take {step_over_loader} times as many patches.",
    "processor": (
        "The processor's cores are the bottleneck: loader and step are each quick enough alone, but they share them."
    ),
    "copy": "The copy to the GPU is the bottleneck: it takes {copy_share:.0%} of a step.",
    "augmentation": "The augmentation is the bottleneck: with the copy it takes {preparing_share:.0%} of a step.",
    "step": "The model's step is the bottleneck: the loader could feed {loader_over_step} of them.",
}


def bottleneck(rates: Rates) -> str:
    """Gives which of :data:`BOTTLENECKS` holds up the rest."""
    # Where the device has work while the host waits, as good as nothing of the waiting is lost.
    lost = rates.together < rates.step * (1 - rates.waiting / 2)
    if rates.waiting >= WAITING and lost:
        return "loader" if rates.loader < rates.step / _CLEARLY else "processor"
    if rates.together < _CLEARLY * rates.step:
        return "processor"
    if rates.copy is not None and rates.step / rates.copy >= _COPY:
        return "copy"
    if rates.step / rates.preparing >= _PREPARING:
        return "augmentation"
    return "step"


def in_words(name: str, rates: Rates) -> str:
    """Gives a bottleneck as a sentence with its figures."""
    return BOTTLENECKS[name].format(
        step_over_loader=_times(rates.step / rates.loader),
        loader_over_step=_times(rates.loader / rates.step),
        copy_share=0.0 if rates.copy is None else rates.step / rates.copy,
        preparing_share=rates.step / rates.preparing,
    )


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}"


def advice(name: str, setting: Setting) -> list[str]:
    """Gives what would make a bottleneck wider, the cheapest first."""
    return _ADVICE[name](setting)


def _for_loader(setting: Setting) -> list[str]:
    lines = _on_the_device(setting)
    if setting.compression != "none":
        lines.append(
            f"the patches are stored as {setting.compression}: nlbs-preprocess convert --to tar "
            "--compression none makes shards that need no decoding"
        )
    if setting.is_remote:
        lines.append(
            "the shards lie in an object store: the first epoch waits for the network; a larger --cache-gb "
            "keeps them for the next ones, a copy on a local disk for all"
        )
    lines += _smaller_patches(setting)
    if not setting.is_remote:
        lines.append(
            "on a network folder or a slow disk: --order window, or a copy of the shards on a local disk"
        )
    return lines


def _for_processor(setting: Setting) -> list[str]:
    lines = []
    if setting.device == "cpu" and setting.threads >= setting.cores > 1:
        lines.append(f"leave the loader a core: OMP_NUM_THREADS={setting.cores - 1}")
    lines.append(f"other processes may be at work: {setting.cores} cores are all that was found here")
    return lines + _smaller_patches(setting)


def _for_copy(setting: Setting) -> list[str]:
    return _on_the_device(setting) + _smaller_patches(setting) + _larger_batch(setting) or [_NOTHING_CHEAP]


def _for_augmentation(setting: Setting) -> list[str]:
    lines = _smaller_patches(setting)
    if setting.augments:
        lines.append(
            "training.augment.rotation_deg: 0 in a --config leaves out the dearest change, --no-augment all of them"
        )
    return lines or [_NOTHING_CHEAP]


def _for_step(setting: Setting) -> list[str]:
    lines = _best_trial(setting.trials)
    if setting.device == "cpu":
        if setting.threads < setting.cores:
            lines.append(
                f"the step uses {setting.threads} of {setting.cores} cores: "
                f"OMP_NUM_THREADS={setting.cores}, unless others need them"
            )
        lines.append("a GPU: --device cuda on a machine that has one")
        if setting.preset in ("guide", "nlbs"):
            lines.append(f"the smaller model: --preset {setting.preset}-small")
        return lines
    lines += _larger_batch(setting)
    if not setting.compiled:
        lines.append("training.compile: true in a --config; not tried, as compiling takes a minute or more")
    return lines or [_NOTHING_CHEAP]


def _best_trial(trials: tuple[tuple[str, float], ...]) -> list[str]:
    """Gives the trial that gained most, or an earlier one, thus a simpler one, that gained about as much."""
    best = max((gain for _, gain in trials), default=0.0)
    good = [
        f"{words}: {gain:.2f} times as quick, tried just now"
        for words, gain in trials
        if gain >= _GAIN and gain * _GAIN >= best
    ]
    return good[:1]


def _on_the_device(setting: Setting) -> list[str]:
    if setting.device == "cpu" or setting.is_resident:
        return []
    return ["--resident auto keeps all patches on the GPU, where they fit into half of its free memory"]


def _smaller_patches(setting: Setting) -> list[str]:
    lines = []
    if setting.fit == "downsample" and setting.patch_px > setting.resolution:
        lines.append(
            f"{setting.patch_px} x {setting.patch_px} pixels are read and averaged to {setting.resolution} x "
            f"{setting.resolution}: --fit crop, or a set whose patches are smaller, from nlbs-preprocess reshard "
            f"--resolution {setting.resolution} (a smaller field of view)"
        )
    if setting.dtype == "uint16":
        lines.append("the patches are uint16: nlbs-preprocess reshard --dtype uint8 halves their bytes")
    return lines


def _larger_batch(setting: Setting) -> list[str]:
    used, has = setting.used_bytes, setting.device_bytes
    if used is None or has is None or used > has / 2:
        return []
    return [
        f"a larger --batch-size: {setting.batch_size} patches take {used / _GIB:.1f} of the GPU's "
        f"{has / _GIB:.0f} GiB (another batch size is another training)"
    ]


_ADVICE: dict[str, Callable[[Setting], list[str]]] = {
    "loader": _for_loader,
    "processor": _for_processor,
    "copy": _for_copy,
    "augmentation": _for_augmentation,
    "step": _for_step,
}
