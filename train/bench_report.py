"""What a bench found, for a person and for machines."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from nlbs.train.bottleneck import Rates, Setting, advice, bottleneck, in_words


@dataclass(frozen=True)
class Measured:
    """What a bench found."""

    rates: Rates
    setting: Setting
    batches_read: int  #: by the loader alone
    steps_per_epoch: int
    parameters: int

    @property
    def bottleneck(self) -> str:
        """What holds up the rest."""
        return bottleneck(self.rates)


def as_mapping(measured: Measured) -> dict[str, Any]:
    """Gives a bench for machines."""
    name = measured.bottleneck
    return {
        "patches_per_second": {
            key: getattr(measured.rates, key) for key in ("loader", "step", "together", "preparing", "copy")
        },
        "waiting_share": measured.rates.waiting,
        "bottleneck": name,
        "says": in_words(name, measured.rates),
        "advice": advice(name, measured.setting),
        "setting": asdict(measured.setting),
        "parameters": measured.parameters,
        "torch": torch.__version__,
    }


def as_text(measured: Measured) -> str:
    """Gives a bench for a person."""
    rates, setting = measured.rates, measured.setting
    rows = [("loader alone", rates.loader, _epochs_read(measured))]
    if rates.copy is not None:
        rows.append(("copy to the GPU", rates.copy, "part of the step"))
    rows += [
        ("pixels and augmentation", rates.preparing, "part of the step"),
        ("step alone", rates.step, "the same batch again and again"),
        ("together, as a run does it", rates.together, f"{rates.waiting:.1%} of it waiting for data"),
    ]
    on = f"the CPU, {setting.threads} of {setting.cores} cores" if setting.device == "cpu" else "the GPU"
    lines = [
        f"{measured.parameters:,} parameters, {setting.resolution} x {setting.resolution} pixels, batches of "
        f"{setting.batch_size} at {setting.precision} on {on}",
        "",
        f"{'':<28}{'patches/s':>12}{'ms a batch':>12}",
        *(
            f"{name:<28}{_number(rate):>12}{1000 * setting.batch_size / rate:>12.1f}   {note}"
            for name, rate, note in rows
        ),
        "",
        in_words(measured.bottleneck, rates),
        "What would help:",
        *(f"  - {line}" for line in advice(measured.bottleneck, setting)),
    ]
    return "\n".join(lines)


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def _epochs_read(measured: Measured) -> str:
    share = measured.batches_read / measured.steps_per_epoch
    if share > 1:
        return f"{share:.1f} epochs, most of it from memory"
    return f"{share:.1%} of an epoch, read for the first time"
