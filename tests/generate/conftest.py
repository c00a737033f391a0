"""A tiny checkpoint with known weights, and nlbs-generate called in this process, as torch takes long to load."""

import csv
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from nlbs.cvae import ConditionalVAE
from nlbs.models.checkpoint import save_checkpoint
from tests.cvae.conftest import tiny


class Done(NamedTuple):
    code: int
    out: str
    err: str


Generate = Callable[..., Done]


def make_checkpoint(path: Path, skips: bool = False, resolution: int = 32) -> Path:
    torch.manual_seed(0)
    save_checkpoint(path, ConditionalVAE(tiny(skips, latent_dim=8, condition_embed_dim=16), resolution), {})
    return path


def table(path: Path) -> list[dict[str, str]]:
    """Gives the rows of a CSV."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, str]:
    """Gives name -> SHA-256 of every file in a folder but for locks."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("model") / "best_model.safetensors")


@pytest.fixture
def generate(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> Generate:
    """Calls nlbs-generate with the checkpoint, after the name of a command where the first argument is one."""
    from nlbs.generate.cli import cli, main

    def call(*arguments: object) -> Done:
        words = [str(argument) for argument in arguments]
        command = [words.pop(0)] if words and words[0] in cli.commands else []
        takes_one = command or (words and words[0].startswith("-"))
        own = (
            []
            if not takes_one or "--checkpoint" in words or "--help" in words
            else ["--checkpoint", str(checkpoint)]
        )
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([*command, *own, *words])
        captured = capsys.readouterr()
        return Done(int(left.value.code or 0), captured.out, captured.err)

    return call
