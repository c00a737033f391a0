"""The data card of a shard set: its figures by a plain loop, what a person's stays, and nothing that identifies.

Also covers: shards/format/croissant.py, by mlcroissant's validation.
"""

import hashlib
import json
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import mlcroissant
import pytest
import yaml
from click.testing import CliRunner

from nlbs.card import About, read_card
from nlbs.errors import ConfigError
from nlbs.preprocess.cli import cli
from nlbs.shards import open_shards
from nlbs.shards.format.card import _size, rewrite_set_card, write_set_card
from nlbs.shards.format.layout import read_shard_set_json
from nlbs.shards.format.verify import damages
from tests.shards.conftest import make_shard_set


def front_of(folder: Path) -> dict[str, object]:
    return dict(yaml.safe_load((folder / "README.md").read_text().split("---\n")[1]))


def described(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "croissant.json").read_text()))


def one_patch_images(folder: Path, columns: dict[str, Sequence[object]], patches: int = 12) -> None:
    """Writes a set in which every patch is an image, and two of them a patient."""
    ids = {"image": [f"{row:016x}" for row in range(patches)]}
    ids["patient"] = [f"p{row // 2:012x}" for row in range(patches)]
    make_shard_set(folder, patches, columns={**ids, "split": ["train"] * patches, **columns})


def test_a_card_counts_as_a_loop_does_and_says_what_a_patch_is(tmp_path: Path) -> None:
    one_patch_images(tmp_path, {"split": ["train"] * 6 + ["val"] * 4 + ["test"] * 2})
    assert rewrite_set_card(tmp_path, About(), "NLBS") == tmp_path / "README.md"
    text, rows = (tmp_path / "README.md").read_text(), open_shards(tmp_path).manifest.to_pylist()
    for row in (
        "| train | 6 | 6 | 3 |",
        "| val | 4 | 4 | 2 |",
        "| test | 2 | 2 | 1 |",
        "| all | 12 | 12 | 6 |",
    ):
        assert row in text
    for code, word in ((0, "no"), (1, "yes"), (None, "unknown")):
        held = [row for row in rows if row["cancer"] == code]
        of = [sum(row["split"] == split for row in held) for split in ("train", "val", "test")]
        patients = len({row["patient"] for row in held})
        assert f"| cancer | {word} | {of[0]} | {of[1]} | {of[2]} | {len(held)} | {patients} |" in text
    assert "# NLBS: 12 patches of 16x16 pixels from 12 images\n" in text
    for fact in (
        "| patches | 12 of 16x16 pixels, uint8, grey |",
        "| from | 12 images of 6 patients |",
        "| cut | on a grid of 16 pixels (stride), at least 10 % breast |",
        f"| id | {open_shards(tmp_path).dataset_id}, generation 1, format version 1 |",
        "**Not for diagnosis**",
    ):
        assert fact in text
    assert front_of(tmp_path) == {
        "license": "unknown",
        "pretty_name": "NLBS",
        "task_categories": ["unconditional-image-generation", "image-classification"],
        "size_categories": ["n<1K"],
        "tags": ["croissant", "mammography", "medical-imaging", "webdataset"],
    }
    assert list(damages(tmp_path)) == []


def test_labels_count_one_by_one_and_of_many_values_the_rarest_are_only_numbered(tmp_path: Path) -> None:
    findings = ["mass|calcification", "mass", None] * 20
    scanners = [f"s{row}" for row in range(30)] + [f"s{row}" for row in range(20)] + ["s0"] * 10
    one_patch_images(tmp_path, {"findings": findings, "scanner": scanners}, patches=60)
    rewrite_set_card(tmp_path, About())
    text = (tmp_path / "README.md").read_text()
    assert "| findings | calcification | 20 | 0 | 0 | 20 |" in text
    assert "| findings | mass | 40 | 0 | 0 | 40 |" in text
    assert "| findings | unknown | 20 | 0 | 0 | 20 |" in text
    assert "| scanner | s0 | 12 | 0 | 0 | 12 |" in text
    assert "| scanner | 10 more values |" in text
    assert "s29" not in text


def test_nothing_in_it_identifies(shard_folder: Path) -> None:
    rewrite_set_card(shard_folder, About())
    manifest = open_shards(shard_folder).manifest
    names = [*manifest["patient"].unique().to_pylist(), *manifest["image"].unique().to_pylist()]
    for file in ("README.md", "croissant.json"):
        text = (shard_folder / file).read_text()
        assert [name for name in (*names, str(shard_folder.parent), shard_folder.name) if name in text] == []


def test_what_a_person_says_stays_and_a_licence_can_be_said_later(shard_folder: Path) -> None:
    rewrite_set_card(shard_folder, About(), "NLBS")
    path = shard_folder / "README.md"
    text = (
        path.read_text()
        .replace("## Intended use", "My words.\n\n## Intended use")
        .replace("- croissant\n", "- mine\n")
    )
    path.write_text(text)
    (shard_folder / "croissant.json").write_text(json.dumps({"citeAs": "Me", "name": "x"}))
    rewrite_set_card(shard_folder, About("cc-by-4.0", 'Mine: "all" | of it'), "other")
    text = path.read_text()
    assert "My words." in text
    assert "- mine\n" in text
    assert (front_of(shard_folder)["license"], front_of(shard_folder)["pretty_name"]) == (
        "cc-by-4.0",
        'Mine: "all" | of it',
    )
    assert '| dataset | Mine: "all" \\| of it |' in text
    assert "choose one" not in text
    found = described(shard_folder)
    assert (found["citeAs"], found["license"], found["name"]) == ("Me", "cc-by-4.0", 'Mine: "all" | of it')
    before = path.stat().st_mtime_ns
    rewrite_set_card(shard_folder, About(), "other")  # nothing new
    assert (path.read_text(), path.stat().st_mtime_ns) == (text, before)


def test_a_readme_of_somebody_else_is_left(shard_folder: Path) -> None:
    (shard_folder / "README.md").write_text("# Mine\n")
    assert rewrite_set_card(shard_folder, About("mit")) == shard_folder / "croissant.json"
    assert read_card(shard_folder) == "# Mine\n"
    assert described(shard_folder)["license"] == "mit"


def test_another_set_of_the_root_has_the_same_licence_and_one_that_lies_beside_has_not(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "r16-s16", tmp_path / "r8-s8"
    make_shard_set(first)
    rewrite_set_card(first, About("cc-by-4.0", "NLBS"))
    make_shard_set(second, resolution=8)
    table, info = open_shards(second).manifest, read_shard_set_json(second)
    write_set_card(second, table, info)
    assert front_of(second)["license"] == "unknown"  # two folders in a folder
    (second / "README.md").unlink()
    (tmp_path / "images.csv").touch()
    write_set_card(second, table, info)
    assert (front_of(second)["license"], front_of(second)["pretty_name"]) == ("cc-by-4.0", "NLBS")


def test_a_synthetic_set_says_so_first(shard_folder: Path) -> None:
    told = {"model": "0a1b", "sampler": "flow", "seed": 7, "conditions": "said"}
    info = {**read_shard_set_json(shard_folder), "synthetic": told}
    write_set_card(shard_folder, open_shards(shard_folder).manifest, info)
    text = (shard_folder / "README.md").read_text()
    assert "**Every picture in it is synthetic**" in text
    assert "| drawn by | model 0a1b, flow, seed 7 |" in text
    assert "sources.csv" not in text
    assert "synthetic-data" in str(front_of(shard_folder)["tags"])


def test_sizes_are_those_of_the_hub() -> None:
    edges = {
        0: "n<1K",
        999: "n<1K",
        1000: "1K<n<10K",
        9_999_999: "1M<n<10M",
        10**7: "10M<n<100M",
        10**11: "n>1B",
    }
    assert {patches: _size(patches) for patches in edges} == edges


@pytest.mark.parametrize("licence", ["", "of my own", "x" * 65, "mit\n"])
def test_a_licence_that_no_card_can_name_is_refused(licence: str) -> None:
    with pytest.raises(ConfigError, match="expected an identifier"):
        About(licence)


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph:DeprecationWarning")  # of rdflib, which mlcroissant uses
@pytest.mark.parametrize("container", ["tar", "zarr"])
def test_mlcroissant_finds_no_error_and_files_and_columns_are_those_of_the_set(
    tmp_path: Path, container: str
) -> None:
    folder = tmp_path / "set"
    make_shard_set(folder, container=container, columns={"density": ["A", None] * 6})
    rewrite_set_card(folder, About("cc-by-4.0", "NLBS"))
    metadata = mlcroissant.Dataset(jsonld=folder / "croissant.json").metadata
    assert metadata.issues.errors == set()
    assert metadata.conforms_to == ["http://mlcommons.org/croissant/1.0"]
    (records,) = metadata.record_sets
    table = open_shards(folder).manifest
    assert [field.source.extract.column for field in records.fields] == table.column_names
    manifest, shards = metadata.distribution
    data = (folder / manifest.content_url).read_bytes()
    assert manifest.sha256 == hashlib.sha256(data).hexdigest()
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    held = {file for file in files if any(fnmatch(file, pattern) for pattern in shards.includes)}
    assert held == files - {"README.md", "croissant.json", "manifest.arrow", "shard_set.json"}


def test_the_command_writes_the_cards_of_all_sets_of_a_root(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_shard_set(tmp_path / name)
    (tmp_path / "images.csv").touch()
    done = CliRunner().invoke(cli, ["card", "--shards", str(tmp_path), "--license", "mit", "--name", "Mine"])
    assert done.exit_code == 0, done.output
    assert (
        done.output
        == f"data card: {tmp_path / 'a' / 'README.md'}\ndata card: {tmp_path / 'b' / 'README.md'}\n"
    )
    assert front_of(tmp_path / "b")["license"] == "mit"
    refused = CliRunner().invoke(
        cli, ["build-shards", "--csv", "x", "--out", "y", "--part", "1/2", "--license", "mit"]
    )
    assert refused.exit_code == 2
    assert "after merge" in refused.output
