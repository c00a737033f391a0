"""What the tests of faults share: a tiny set, its root, and builds in this process."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from nlbs.preprocess.build import build_shards
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.root.intake import BuildOptions
from nlbs.preprocess.workers import Workers
from tests.conftest import made_once
from tests.forks import forked

TINY_CUT = CutOptions(resolution=64, stride=64)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom of 2 patients, 8 images of 256 x 192 in 5 transfer syntaxes. Not to be changed."""
    from nlbs.preprocess.phantom.screening_set import write_phantom

    def make(folder: Path) -> None:
        write_phantom(folder, patients=2, seed=0, rows=256, columns=192)

    return made_once(tmp_path_factory, "tiny", make)


@pytest.fixture(scope="session")
def tiny_root(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset root of the tiny set: 8 shards of 64-pixel patches. Not to be changed."""
    root = tmp_path_factory.mktemp("tiny-root") / "shards"
    build_shards(BuildOptions(csv=tiny / "meta.csv", out=root, cut=TINY_CUT, workers=Workers(1)))
    return root


#: Runs the command lines given as JSON one after the other; prints "exit code" and the code after each.
_DRIVER = """
import json, sys
from nlbs.preprocess.cli import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as end:
        print("exit code", end.code, flush=True)
"""


def nlbs(*commands: Sequence[object], umask: int = -1, **environment: str) -> tuple[list[int], str]:
    """Runs nlbs-preprocess with several command lines in one process of its own; gives exit codes and what it said."""
    lines = json.dumps([[str(word) for word in command] for command in commands])
    done = forked(_DRIVER, [lines], umask=umask, environment=environment)
    codes = [int(code) for code in re.findall(r"^exit code (\d+)$", done.stdout, re.MULTILINE)]
    assert len(codes) == len(commands), done.stdout + done.stderr
    return codes, done.stdout + done.stderr
