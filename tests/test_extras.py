"""The data stage where nothing of the extra ``train`` is installed: what runs, and what is said of the rest."""

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nlbs.extras import TRAIN, what_to_install

ROOT = Path(__file__).parents[1]
EXTRAS = configparser.ConfigParser()
EXTRAS.read(ROOT / "setup.cfg", "utf-8")

#: Refuses packages as Python does that are not there, and runs command lines one after the other.
WITHOUT = """
import contextlib, importlib, importlib.abc, importlib.metadata, io, json, sys
hidden, lines = json.loads(sys.argv[1])
class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
real = importlib.metadata.distribution
def distribution(name):
    if name in hidden:
        raise importlib.metadata.PackageNotFoundError(name)
    return real(name)
importlib.metadata.distribution = distribution
said = []
for program, *words in lines:
    complained = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(complained):
        try:
            importlib.import_module(f"nlbs.{program}.cli" if program else "nlbs.cli").main(words)
        except SystemExit as ended:
            said.append([ended.code, complained.getvalue()])
import nlbs
for name in ("Generator", "PatchStream", "ConditionalVAE"):
    try:
        getattr(nlbs, name)
    except ModuleNotFoundError as error:
        said.append([name, str(error)])
print(json.dumps([said, len(nlbs.open_shards(lines[-1][2]))]))
"""


def modules(extra: str) -> set[str]:
    """Return the modules of the packages that an extra lists."""
    names = re.findall(r"^([\w-]+)", EXTRAS["options.extras_require"][extra].lstrip(), re.MULTILINE)
    return {name.replace("-", "_") for name in names}


def test_the_sentence_knows_what_the_extra_installs() -> None:
    assert modules("train") == TRAIN


def test_of_other_packages_nothing_is_said() -> None:
    assert what_to_install(ModuleNotFoundError("No module named 'numpy'", name="numpy")) is None
    assert what_to_install(ModuleNotFoundError("no name")) is None


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[list[object]], int]:
    """What comes of each command in an interpreter without the extras, and how many patches there are then."""
    folder = tmp_path_factory.mktemp("without")
    root, phantom = str(folder / "root"), str(folder / "phantom")
    lines = [
        ["", "--help"],
        ["preprocess", "phantom", "--out", phantom, "--patients", "1", "--rows", "256", "--columns", "200",
         "--jobs", "1"],
        ["preprocess", "build-shards", "--csv", f"{phantom}/meta.csv", "--out", root, "--resolution", "64",
         "--stride", "64", "--split", "100/0/0", "--jobs", "1"],
        ["preprocess", "reshard", "--shards", root, "--mode", "whole", "--resolution", "32", "--jobs", "1"],
        ["preprocess", "report", "--shards", f"{root}/whole-r32", "--out", f"{root}/report.html"],
        ["preprocess", "verify", "--shards", f"{root}/whole-r32"],
        ["train", "--shards", f"{root}/whole-r32", "--preset", "vindr-vae-small"],
        ["generate", "--checkpoint", f"{root}/none.safetensors", "--out", f"{root}/s"],
        ["evaluate", "--shards", f"{root}/whole-r32", "--checkpoint", f"{root}/none", "--out", f"{root}/e"],
        ["preprocess", "info", f"{root}/whole-r32"],
    ]  # fmt: skip
    hidden = sorted(TRAIN | modules("readers") | {"sklearn", "torchmetrics", "efficientnet_lite_pytorch"})
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, json.dumps([hidden, lines])],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ends, patches = json.loads(done.stdout.splitlines()[-1])
    return ends, patches


def test_the_data_stage_runs_without_them(said: tuple[list[list[object]], int]) -> None:
    ends, patches = said
    assert [code for code, _ in ends[:6]] == [0] * 6, ends
    assert patches == 4


@pytest.mark.parametrize("at", [6, 7, 8, 10, 11, 12])
def test_what_needs_them_says_what_to_install(said: tuple[list[list[object]], int], at: int) -> None:
    code, sentence = said[0][at]
    assert code in (1, "Generator", "PatchStream", "ConditionalVAE")
    assert re.fullmatch(
        r"(Error: )?training, drawing and evaluating need the package torch, which is not installed for \S+; what "
        r"works without it is nlbs-preprocess and nlbs\.open_shards\. Install what is missing with: pip install "
        r"'nlbs-cvae\[train\]'\n?",
        str(sentence),
    )
