"""Every region of every file of a shard set is damaged in turn: verify names it, and repair restores the bytes."""

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nlbs.errors import DatasetError, ShardError
from nlbs.preprocess.build import reshard
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.sets.repair import repair
from nlbs.preprocess.workers import Workers
from nlbs.shards import open_shards
from nlbs.shards.format.verify import damages
from tests.conftest import some
from tests.reliability.conftest import nlbs
from tests.reliability.faulty_disk import tree

SET = "r64-s64"


@pytest.fixture
def root(tiny_root: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_root, tmp_path / "shards")
    return tmp_path / "shards"


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x10]))


def regions(shard: Path) -> dict[str, int]:
    """Gives a place in each region of a tar shard, by name."""
    places = {}
    with tarfile.open(shard) as tar:
        members = tar.getmembers()
    for member, kind in ((members[2], "npy"), (members[3], "json")):
        for what, at in {
            "name": 3,
            "mode": 101,
            "size": 128,
            "checksum": 150,
            "type": 156,
            "magic": 258,
        }.items():
            places[f"{what} in a {kind} header"] = member.offset + at
        places[f"first byte of {kind}"] = member.offset_data
        places[f"last byte of {kind}"] = member.offset_data + member.size - 1
    npy, record = members[2], members[3]
    places["shape in the npy header"] = npy.offset_data + 60
    places["pixels"] = npy.offset_data + 128 + 2000
    places["padding"] = record.offset_data + record.size
    end = members[-1].offset_data + -(-members[-1].size // 512) * 512
    return places | {"end blocks": end + 10, "last byte": shard.stat().st_size - 1}


def test_a_flip_in_every_region_of_every_file_is_found_and_named(root: Path) -> None:
    folder = root / SET
    assert list(damages(folder)) == []
    shards = sorted(folder.glob("*.tar"))
    places = [(shards[2], what, place) for what, place in regions(shards[2]).items()]
    manifest = folder / "manifest.arrow"
    size = manifest.stat().st_size
    places += [(manifest, f"{place} of {size}", place) for place in range(0, size, size // 60)]
    places += [(manifest, "last byte", size - 1)]
    info = folder / "shard_set.json"
    places += [(info, f"byte {place}", place) for place in range(0, info.stat().st_size, 7)]
    for path, what, place in some(places):
        flip(path, place)
        found = [damage.name for damage in damages(folder)]
        assert found == [path.name], (what, found)
        flip(path, place)
    assert list(damages(folder)) == []


def test_a_shard_cut_at_any_member_is_named_with_both_sizes(root: Path) -> None:
    shard = root / SET / "00003.tar"
    whole = shard.read_bytes()
    with tarfile.open(shard) as tar:
        cuts = [0, *(member.offset for member in tar.getmembers()), len(whole) - 10240, len(whole) - 512]
    for cut in cuts:
        os.truncate(shard, cut)
        (damage,) = damages(root / SET)
        assert (damage.name, damage.what) == ("00003.tar", f"has {cut} bytes instead of {len(whole)}")
        with pytest.raises(ShardError, match=r"00003\.tar has"):
            open_shards(root)
        shard.write_bytes(whole)


def swap(folder: Path) -> set[str]:
    os.rename(folder / "00000.tar", folder / "x")
    os.rename(folder / "00001.tar", folder / "00000.tar")
    os.rename(folder / "x", folder / "00001.tar")
    return {"00000.tar", "00001.tar"}


def lose(folder: Path) -> set[str]:
    (folder / "00004.tar").unlink()
    (folder / "manifest.arrow").unlink()
    return {"00004.tar", "manifest.arrow"}


def foreign(folder: Path) -> set[str]:
    """A whole shard and a whole manifest of another set, under the right names, and a folder in a file's place."""
    reshard(folder.parent, CutOptions(64, 32), Workers(1), overwrite=False)
    for name in ("00005.tar", "manifest.arrow"):
        shutil.copy(folder.parent / "r64-s32" / name, folder / name)
    shutil.rmtree(folder.parent / "r64-s32")
    (folder / "00006.tar").unlink()
    (folder / "00007.tar").write_bytes(bytes((folder / "00007.tar").stat().st_size))
    return {"00005.tar", "00006.tar", "00007.tar", "manifest.arrow"}


def hostile_tar(folder: Path) -> set[str]:
    """Members that lead out of the folder, links, a key twice, a pickle: of the right size."""
    path = folder / "00002.tar"
    size = path.stat().st_size
    with tarfile.open(path, "w") as tar:
        for name in ("../escaped.npy", "/escaped.npy", "twice.npy", "twice.npy", "code.pkl"):
            tar.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("link.npy")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    return {"00002.tar"}


def garble_json(folder: Path) -> set[str]:
    (folder / "shard_set.json").write_bytes(b"\0" * 100)
    (folder / "00001.tar").unlink()
    return {"shard_set.json"}


def change_json(folder: Path) -> set[str]:
    """Every value that a repair would need is another one, and the digest with it is not."""
    path = folder / "shard_set.json"
    info = json.loads(path.read_text())
    info["parameters"]["stride"] = "sixty-four"
    info["dataset_id"] = "0" * 32
    path.write_text(json.dumps(info))
    return {"shard_set.json"}


@pytest.mark.parametrize("damage", [swap, lose, foreign, hostile_tar, garble_json, change_json])
def test_whatever_is_lost_is_named_and_repair_restores_the_same_bytes(
    damage: Callable[[Path], set[str]], tiny_root: Path, root: Path
) -> None:
    folder = root / SET
    names = damage(folder)
    assert {found.name for found in damages(folder)} == names
    if names - {"shard_set.json"}:
        with pytest.raises(ShardError), open_shards(root) as shards:
            shards.read(shards.rows())
    repair(folder, Workers(1))
    assert list(damages(folder)) == []
    assert tree(root) == tree(tiny_root)
    assert not (root.parent / "escaped.npy").exists()


def test_what_cannot_be_repaired_is_said_and_left_as_it_is(root: Path) -> None:
    folder = root / SET
    (folder / "shard_set.json").write_text("{}")
    (folder / "manifest.arrow").write_bytes(b"ARROW1")
    before = tree(root)
    with pytest.raises(DatasetError, match="cannot be restored"):
        repair(folder, Workers(1))
    assert tree(root) == before


def test_a_set_under_another_name_is_restored_where_it_is(root: Path) -> None:
    folder = root / "mine"
    os.rename(root / SET, folder)
    before = tree(root)
    (folder / "00001.tar").unlink()
    repair(folder, Workers(1))
    assert tree(root) == before


def test_a_damaged_store_is_named_and_never_cut_into_black_patches(root: Path) -> None:
    chunks = sorted((root / "images.zarr").glob("*/c/0/0"))
    flip(chunks[0], chunks[0].stat().st_size // 2)
    chunks[1].unlink()
    for _ in range(2):
        codes, said = nlbs(
            ("reshard", "--shards", root, "--resolution", "64", "--stride", "32", "--jobs", "1")
        )
        assert codes == [1]
        image = next(chunk.parents[2] for chunk in chunks if str(chunk.parents[2]) in said)
        assert "Traceback" not in said
        assert "run build-shards again" in said
        shutil.rmtree(image)  # as the message says
        codes, said = nlbs(
            ("reshard", "--shards", root, "--resolution", "64", "--stride", "32", "--jobs", "1")
        )
        assert codes == [1]
        assert "does not hold the image" in said
        break
    assert not (root / "r64-s32" / "shard_set.json").exists()


def test_a_commit_record_that_is_damaged_is_written_anew(tiny_root: Path, root: Path) -> None:
    folder = root / SET
    (folder / "shard_set.json").unlink()
    (folder / "parts").mkdir()
    (folder / "parts" / "00000.json").write_text('{"dataset_id": "')
    (folder / "parts" / "00001.json").write_text("[]")
    reshard(root, CutOptions(64, 64), Workers(1), overwrite=False)
    assert tree(root) == tree(tiny_root)
