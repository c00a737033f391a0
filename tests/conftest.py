"""What tests share: a key of their own, a small phantom, and the dataset root built from it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A slow machine fails no test: no test asserts times.
settings.register_profile("nlbs", deadline=None)
settings.load_profile("nlbs")

SHARED = Path(__file__).parents[2] / "shared"  # beside the repository on some machines; tests skip without it


@pytest.fixture(scope="session", autouse=True)
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A key for pseudonyms, so that no test touches the user's own."""
    path = tmp_path_factory.getbasetemp().parent / "nlbs-test-key"  # the same for all processes of a test run
    os.environ["NLBS_KEY_FILE"] = str(path)
    yield path
    del os.environ["NLBS_KEY_FILE"]


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 4 made-up patients, 16 images of 5 transfer syntaxes, meta.csv and truth.csv."""
    from nlbs.preprocess.phantom.screening_set import write_phantom

    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder, patients=4, seed=0, rows=768, columns=600)
    return folder


@pytest.fixture(scope="session")
def dataset_root(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset root with one shard set of 64-pixel patches of the phantom. Not to be changed."""
    root = tmp_path_factory.mktemp("root") / "shards"
    done = run_command("preprocess", "build-shards", "--csv", phantom / "meta.csv", "--out", root, *CUT)
    assert done.returncode == 0, done.stderr
    return root


#: The patches that tests cut from the phantom.
CUT = ("--resolution", "64", "--stride", "64", "--jobs", "1")


def run_command(
    command: str, *arguments: object, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs nlbs-COMMAND in a process of its own, as a user does, and gives what it said."""
    return subprocess.run(
        [sys.executable, "-m", f"nlbs.{command}", *(str(argument) for argument in arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=240,
    )
