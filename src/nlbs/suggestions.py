"""What a person may have meant by an option or a command that there is none of: by spelling, and by meaning."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

_MOST = 3
#: Name in other tools -> ours, the likeliest first. Beginnings such as num- and endings such as -dir are taken off.
_OPTIONS = {
    "accelerator": "device",
    "amp": "precision",
    "annotations": "csv",
    "batch": "batch-size",
    "batchsize": "batch-size",
    "bbox": "min-foreground",
    "beta": "kl-weight",
    "bf16": "precision",
    "bit-depth": "dtype",
    "bits": "dtype",
    "bs": "batch-size",
    "cache": "cache-gb",
    "cfg": "config guidance",
    "cfg-scale": "guidance",
    "checkpoint": "checkpoint run",
    "class-weights": "balance",
    "ckpt": "checkpoint run",
    "codec": "decoder compression",
    "cores": "jobs",
    "count": "num patients patches",
    "cpu": "device jobs",
    "cpus": "jobs",
    "crop": "fit",
    "cuda": "device",
    "data": "csv shards samples",
    "dataset": "csv shards samples",
    "dest": "out run",
    "destination": "out run",
    "device-id": "device",
    "devices": "device",
    "dicom": "images",
    "dicoms": "images",
    "dry": "dry-run",
    "duration": "max-minutes",
    "ema": "config",
    "epoch": "epochs",
    "experiment": "run",
    "f": "overwrite",
    "filter": "where",
    "force": "overwrite",
    "fp16": "precision",
    "gpu": "device",
    "gpus": "device",
    "group": "patient-column",
    "guidance-scale": "guidance",
    "half": "precision",
    "height": "rows resolution",
    "i": "csv shards samples checkpoint",
    "image": "images",
    "img": "images",
    "in": "csv shards samples checkpoint",
    "input": "csv shards samples checkpoint",
    "iter": "max-steps steps",
    "iterations": "max-steps steps",
    "iters": "max-steps steps",
    "j": "jobs",
    "kl": "kl-weight",
    "kld": "kl-weight",
    "labels": "csv map",
    "learningrate": "learning-rate",
    "limit": "max-steps num images max-failures",
    "loader": "jobs",
    "log": "run",
    "lr": "learning-rate",
    "magnification": "spacing-mm",
    "manifest": "csv shards",
    "meta": "csv",
    "metadata": "csv",
    "minutes": "max-minutes",
    "mixed-precision": "precision",
    "model": "checkpoint preset",
    "mpp": "spacing-mm",
    "n": "num patients",
    "ncpu": "jobs",
    "number": "num patients",
    "o": "out run",
    "output": "out run",
    "overlap": "stride",
    "p": "jobs",
    "parallel": "jobs",
    "patch": "resolution patches",
    "patch-size": "resolution",
    "patient": "patient-column",
    "patient-id": "patient-column",
    "pixel-size": "spacing-mm",
    "pixel-spacing": "spacing-mm",
    "proc": "jobs",
    "processes": "jobs",
    "projection": "view",
    "query": "where",
    "quantity": "num",
    "random-seed": "seed split-seed",
    "random-state": "seed split-seed",
    "ratio": "split mix",
    "replace": "overwrite",
    "root": "shards out images",
    "run-name": "run",
    "salt": "key-file",
    "samples": "num samples",
    "save": "out run",
    "secret": "key-file",
    "seed": "seed split-seed",
    "shard": "shards",
    "shape": "resolution",
    "side": "laterality",
    "size": "resolution",
    "spacing": "spacing-mm",
    "split-ratio": "split",
    "steps": "max-steps steps flow-steps",
    "step": "stride max-steps steps",
    "step-size": "stride",
    "strategy": "backend",
    "syntax": "transfer-syntax",
    "table": "csv",
    "target": "out",
    "temp": "temperature",
    "test-size": "split",
    "threads": "jobs",
    "threshold": "min-foreground",
    "tile": "resolution",
    "tile-size": "resolution",
    "time": "max-minutes file-timeout",
    "time-limit": "max-minutes file-timeout",
    "timeout": "file-timeout rank-timeout",
    "tissue": "min-foreground",
    "train": "split",
    "train-split": "split",
    "truncation": "temperature",
    "val": "split",
    "val-size": "split",
    "val-split": "split",
    "validation": "split",
    "verbose": "",
    "view-position": "view",
    "weighted": "balance",
    "weights": "checkpoint",
    "width": "columns resolution",
    "window": "voi",
    "windowing": "voi",
    "worker": "jobs",
    "workers": "jobs",
    "world-size": "jobs",
    "y": "overwrite",
    "yes": "overwrite",
}
#: Word for a command -> ours.
_COMMANDS = {
    "add": "append",
    "check": "preflight verify",
    "combine": "merge",
    "count": "info",
    "create": "build-shards",
    "cut": "build-shards reshard",
    "decode": "build-shards",
    "demo": "phantom",
    "describe": "info",
    "dicom": "to-dicom",
    "export": "to-dicom convert",
    "extend": "append",
    "extract": "build-shards",
    "fake": "phantom",
    "fix": "verify",
    "generate": "draw",
    "html": "report",
    "import": "build-shards",
    "init": "build-shards",
    "inspect": "info",
    "join": "merge",
    "list": "info",
    "ls": "info",
    "make": "build-shards",
    "outliers": "anomaly",
    "patches": "build-shards reshard",
    "patch": "build-shards reshard",
    "plot": "preview report",
    "preprocess": "build-shards",
    "process": "build-shards",
    "recut": "reshard",
    "repair": "verify",
    "resize": "reshard",
    "restore": "verify",
    "run": "build-shards draw",
    "sample": "draw",
    "scan": "preflight",
    "shard": "build-shards",
    "show": "preview info",
    "simulate": "phantom",
    "stats": "info",
    "summary": "info",
    "synthetic": "phantom",
    "tar": "convert",
    "teach": "educational",
    "test": "verify preflight",
    "thumbnails": "preview",
    "update": "append",
    "validate": "verify",
    "view": "preview",
    "visualize": "preview",
    "zarr": "convert",
}
_REPAIRS = ("fix", "repair", "restore")
_BEGINNINGS = re.compile(r"^(?:num-?(?=\w)|(?:n|no|nr|number-of|max|min|use|with|the)-)")
_ENDINGS = re.compile(r"-(?:dir|directory|folder|path|file|name|id|num|count|size|root|csv)$")


def options_like(word: str, flags: Iterable[str]) -> list[str]:
    """Return the flags that a person may have meant, at most three and the likeliest first.

    Args:
        word: as it was given, such as "--lr" or "-bs".
        flags: those that there are, such as "--learning-rate".
    """
    long = {flag.lstrip("-"): flag for flag in flags if flag.startswith("--")}
    return [long[name] for name in _like(word.lstrip("-"), list(long), _OPTIONS)]


def commands_like(word: str, names: Sequence[str]) -> list[str]:
    """Return the commands that a person may have meant, at most three and the likeliest first."""
    meant = _like(word, names, _COMMANDS)
    return ["verify --repair"] if meant == ["verify"] and word.lower() in _REPAIRS else meant


def or_list(words: Sequence[str]) -> str:
    """Return words as a person lists them: "a", "a or b", "a, b or c"."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _like(word: str, names: Sequence[str], meanings: dict[str, str]) -> list[str]:
    key = re.sub(r"[_.\s]+", "-", re.sub(r"(?<=[a-z])(?=[A-Z])", "-", word)).lower()
    if key in names:
        return [key]
    shorter = (
        key,
        _BEGINNINGS.sub("", key),
        _ENDINGS.sub("", key),
        _ENDINGS.sub("", _BEGINNINGS.sub("", key)),
    )
    for meant in dict.fromkeys(shorter):
        known = [name for name in meanings.get(meant, "").split() if name in names]
        if known or meant in names:
            return (known or [meant])[:_MOST]
        if meant in meanings:  # what is meant is not to be had here
            return get_close_matches(key, names, _MOST, 0.85)
    begun = [name for name in names if len(key) > 1 and name.startswith(key)]
    spelt = get_close_matches(key, names, _MOST, 0.8) or get_close_matches(key, names, _MOST, 0.6)
    return list(dict.fromkeys([*begun, *spelt]))[:_MOST]
