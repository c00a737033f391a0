"""The references of the formats: their snippets run, and their tables name what there is."""

import importlib
import json
import pkgutil
import re
from pathlib import Path

import pandas as pd
import pytest
import zarr

import nlbs
from nlbs.errors import ImageError
from nlbs.manifests.conditions import OTHER_VIEWS
from nlbs.manifests.kinds import KINDS
from nlbs.manifests.tables.dialects import DIALECTS
from nlbs.preprocess.report.page_images import REMEDIES
from nlbs.shards.format.manifest import SCHEMA
from tests.conftest import some
from tests.programs import PAGES
from tests.shards.conftest import make_shard_set
from tests.test_tests import ROOMS, modules

ROOT = Path(__file__).parents[1]
SHARDS, MANIFESTS = (
    (ROOT / folder / "README.md").read_text(encoding="utf-8") for folder in ("shards", "manifests")
)
SNIPPETS = re.findall(r"```python\n(.*?)```", SHARDS + MANIFESTS, re.DOTALL)


def written_statuses() -> set[str]:
    """Gives every status that the code writes into images.csv: of the classes of errors, and where it stands alone."""
    for module in pkgutil.walk_packages(nlbs.__path__, "nlbs."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    kinds, codes = [ImageError], set()
    while kinds:
        kinds += (kind := kinds.pop()).__subclasses__()
        if kind.__module__.startswith("nlbs."):
            codes.add(kind.status)
    sources = [
        path
        for module in modules()
        for path in (ROOT / module, ROOT / "src" / "nlbs" / module)
        if path.exists()
    ]
    assert {path.relative_to(ROOT).parts[0] for path in sources} == {*ROOMS, "src"}
    for path in sources:
        code = path.read_text(encoding="utf-8")
        for pattern in (
            r"""\.failed\(\s*"(\w+)\"""",
            r"""\bSource\([^()]*None,\s*"(\w+)\"""",
            r"""status\s*(?::\s*\w+\s*)?(?:==|!=|=)\s*"(\w+)\"""",
            r"""["']status["']\]?\s*(?:==|:|=)\s*"(\w+)\"""",
        ):
            codes |= set(re.findall(pattern, code))
    return codes - {"image_error"}  # of the class that all are of


def named_first(text: str, heading: str) -> set[str]:
    """Gives the names in the first column of the tables of a section."""
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_runs_on_a_dataset_root(
    dataset_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    code = SNIPPETS[number].replace("r256-s512", "r64-s64").replace("256, 256", "64, 64")
    monkeypatch.chdir(dataset_root.parent)
    exec(compile(code, f"snippet {number}", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out


def test_every_column_of_the_manifest_has_a_row() -> None:
    assert named_first(SHARDS, "manifest.arrow") == set(SCHEMA.names)


def test_every_key_of_shard_set_json_has_a_row(dataset_root: Path) -> None:
    info = json.loads((dataset_root / "r64-s64" / "shard_set.json").read_text())
    assert named_first(SHARDS, "shard_set.json") == set(info)
    section = SHARDS.split("\n## shard_set.json\n")[1]
    for key in (*info["parameters"], *info["manifest"], *info["shards"][0]):
        assert f"`{key}`" in section


def test_every_key_of_an_array_among_the_shards_has_a_row(tmp_path: Path) -> None:
    make_shard_set(tmp_path / "set", container="zarr", compression="zstd")
    info = json.loads((tmp_path / "set" / "shard_set.json").read_text())
    section = SHARDS.split("\n## shard_set.json\n")[1].split("\n## ")[0]
    for key in some((*info["parameters"], *info["shards"][0])):
        assert f"`{key}`" in section
    described = json.loads((tmp_path / "set" / "00000.zarr" / "zarr.json").read_text())
    codecs = described["codecs"][0]["configuration"]
    section = SHARDS.split("\n## zarr shards\n")[1].split("\n## ")[0]
    for name in (
        "sharding_indexed",
        *(codec["name"] for codec in codecs["codecs"]),
        *described["dimension_names"],
    ):
        assert f"`{name}`" in section


def test_every_attribute_of_a_stored_image_has_a_row(dataset_root: Path) -> None:
    store = zarr.open_group(dataset_root / "images.zarr", mode="r")
    _, array = next(iter(store.arrays()))
    assert named_first(SHARDS, "images.zarr") == set(array.attrs)
    section = SHARDS.split("\n## images.zarr\n")[1]
    for key in (*store.attrs, *dict(array.attrs)["mask"]):
        assert f"`{key}`" in section


def test_every_column_of_the_tables_is_named(dataset_root: Path) -> None:
    section = SHARDS.split("\n## images.csv and sources.csv\n")[1].split("\n## What")[0]
    for name in ("images.csv", "sources.csv"):
        for column in some(pd.read_csv(dataset_root / name).columns):
            assert f"`{column}`" in section


def test_every_status_of_an_image_is_named() -> None:
    named = written_statuses()
    assert {
        "ok",
        "bad_row",
        "codec_crash",
        "not_reached",
        "no_breast",
    } <= named  # each is written in another way
    row = next(line for line in SHARDS.splitlines() if line.startswith("| `status` |"))
    assert set(re.findall(r"`(\w+)`", row)) - {"status"} == named
    # Each has its remedy, in the report and here, in the same words.
    assert named - {"ok"} == set(REMEDIES)
    table = SHARDS.split("| `status` is |")[1].split("\n\n")[0]
    assert dict(re.findall(r"^\| `(\w+)` \|.*\| (.*?) \|$", table, re.MULTILINE)) == REMEDIES


def test_a_remedy_names_options_that_build_shards_has() -> None:
    page = next(page for page in PAGES if page.words == ("nlbs-preprocess", "build-shards"))
    for remedy in REMEDIES.values():
        assert set(re.findall(r"--[a-z-]+", remedy)) - {"--raw"} <= page.flags


def test_every_kind_of_image_is_named() -> None:
    assert named_first(MANIFESTS, "Kinds of image") == set(KINDS)


def test_every_column_of_a_form_and_every_other_view_is_named() -> None:
    for dialect in DIALECTS:
        assert all(f"`{column}`" in MANIFESTS for column in some(dialect.columns))
    assert all(f"`{view}`" in MANIFESTS for view in OTHER_VIEWS)
