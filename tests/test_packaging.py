"""What an installation brings, and what imports what."""

import configparser
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT.parent,
    )
    return set(done.stdout.split())


def test_the_cpu_build_of_torch_brings_no_cuda_package() -> None:
    if torch.version.cuda is not None:
        pytest.skip("this is another torch, which the user chose")
    names = {
        str(distribution.metadata["Name"]).lower() for distribution in importlib.metadata.distributions()
    }
    assert not {name for name in names if name.startswith(("nvidia-", "cuda-")) or name == "triton"}


def test_no_top_level_module_is_installed_beside_nlbs() -> None:
    """A bare ``train`` or ``shards`` in site-packages would overwrite another wheel's, or be overwritten."""
    top = (importlib.metadata.distribution("nlbs-cvae").read_text("top_level.txt") or "").split()
    assert top == ["nlbs"]


def test_the_folders_at_the_root_are_the_packages() -> None:
    import nlbs.shards

    folder = Path(nlbs.shards.__file__ or "").parent
    if "site-packages" in folder.parts:
        pytest.skip("nlbs is installed as a copy")
    assert folder.resolve() == (ROOT / "shards").resolve()


def test_reading_shards_needs_neither_torch_nor_dicom() -> None:
    loaded = modules_after("import nlbs.shards, nlbs.shards.order.order")
    assert not loaded & {"torch", "pydicom", "joblib", "imagecodecs", "zarr"}


def test_the_trainer_and_the_generator_load_no_dicom_library() -> None:
    loaded = modules_after(
        "import nlbs.train, nlbs.train.loop, nlbs.models.drawing, nlbs.generate.draw, nlbs.generate.latent_pages"
        ", nlbs.evaluate.evaluation"
    )
    assert "torch" in loaded
    assert not loaded & {"pydicom", "pylibjpeg", "imagecodecs", "joblib", "zarr"}


def test_the_offline_stage_runs_without_torch() -> None:
    loaded = modules_after("import nlbs.preprocess.build, nlbs.preprocess.report.preview")
    assert "pydicom" in loaded
    assert "torch" not in loaded


def test_constraints_pin_every_requirement() -> None:
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    config = configparser.ConfigParser(interpolation=None)  # what is installed may be of another checkout
    config.read(ROOT / "setup.cfg", "utf-8")
    text = "\n".join([config["options"]["install_requires"], *config["options.extras_require"].values()])
    names = {name.lower().replace("_", "-") for name in re.findall(r"^([A-Za-z][\w.-]*)", text, re.MULTILINE)}
    assert len(names) > 40
    assert names - pinned == set()


def test_git_ignores_what_a_build_in_the_root_writes_and_no_code() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")

    def ignored(*paths: str) -> list[str]:
        done = subprocess.run(
            ["git", "check-ignore", "--no-index", *paths],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        return done.stdout.split()

    outputs = [
        "shards/images.csv",
        "shards/images.zarr/zarr.json",
        "shards/sources.csv",
        "shards/r256-s512/00000.tar",
    ]
    assert ignored(*outputs) == outputs
    assert ignored("shards/reading/shard_set.py", "shards/README.md", "train/loop.py") == []


def links() -> list[Path]:
    return sorted(path for path in (ROOT / "src" / "nlbs").iterdir() if path.is_symlink())


def checkout(folder: Path, broken: str) -> Path:
    """Copies what a build reads; one link is a text file, as git writes it on Windows, or is not there."""
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "src", folder / "src", symlinks=True, ignore=shutil.ignore_patterns("*.egg-info"))
    for link in links():
        code = folder / link.name
        code.mkdir()
        (code / "__init__.py").touch()
        (code / "words.py").touch()
    link = folder / "src" / "nlbs" / "shards"
    if broken:
        target = link.readlink()
        link.unlink()
        if broken == "text":
            link.write_text(target.as_posix())
    return folder


def build(folder: Path, hook: str) -> "subprocess.CompletedProcess[str]":
    """Calls a hook of the build backend that pyproject.toml names, as pip does (PEP 517, PEP 660)."""
    code = (
        "import importlib, pathlib, sys, tomllib\n"
        "system = tomllib.loads(pathlib.Path('pyproject.toml').read_text())['build-system']\n"
        "print('made', getattr(importlib.import_module(system['build-backend']), sys.argv[1])('dist'))\n"
    )
    (folder / "dist").mkdir()
    return subprocess.run(
        [sys.executable, "-c", code, hook], capture_output=True, text=True, check=False, cwd=folder
    )


@pytest.mark.parametrize("broken", ["text", "gone"])
@pytest.mark.parametrize("hook", ["build_wheel", "build_sdist", "build_editable"])
def test_a_checkout_without_its_links_builds_nothing_and_says_why(
    tmp_path: Path, hook: str, broken: str
) -> None:
    done = build(checkout(tmp_path, broken), hook)
    assert done.returncode != 0
    assert "lacks the symbolic links shards: clone with" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "dist").iterdir()) == []


def test_a_checkout_with_its_links_builds_all_packages(tmp_path: Path) -> None:
    """Also from the sdist, which has folders in the place of links."""
    folder = checkout(tmp_path, "")
    made = build(folder, "build_sdist")
    assert made.returncode == 0, made.stderr
    with tarfile.open(next((folder / "dist").glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    wheel = build(source, "build_wheel")
    assert wheel.returncode == 0, wheel.stderr
    with zipfile.ZipFile(next((source / "dist").glob("*.whl"))) as archive:
        names = set(archive.namelist())
    assert {f"nlbs/{link.name}/words.py" for link in links()} <= names
    model = ROOT / "src" / "nlbs" / "pretrained" / "tiny-phantom"
    files = {file.name: file.stat().st_size for file in model.iterdir()}
    assert {f"nlbs/pretrained/tiny-phantom/{name}" for name in files} | {"nlbs/py.typed"} <= names
    assert {"best_model.safetensors", "best_model.flow.safetensors", "config.yaml", "README.md"} == set(files)
    assert sum(files.values()) < 5_000_000


def test_every_folder_of_code_is_a_package() -> None:
    """Only those are installed; an editable installation finds the others as well."""
    folders = {file.parent for link in links() for file in (ROOT / link.name).rglob("*.py")}
    assert len(folders) > len(links())
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_every_link_is_asked_for_before_a_build() -> None:
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert [f'"{link.name}"' for link in links() if f'"{link.name}"' not in text] == []
