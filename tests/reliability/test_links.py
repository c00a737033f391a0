"""Links and second handles that somebody else has put where a command writes: nothing elsewhere is read or changed."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from nlbs.errors import ConfigError, NlbsError
from nlbs.files import atomic_file, remove_partials, write_json
from nlbs.generate.folder import is_finished
from nlbs.local_store import LocalStore
from nlbs.manifests.people.pseudonyms import load_pseudonyms
from nlbs.preprocess.build import build_shards, reshard
from nlbs.preprocess.images.grid import CutOptions
from nlbs.preprocess.parts import build_part, merge, parse_part
from nlbs.preprocess.root.intake import BuildOptions
from nlbs.preprocess.workers import Workers
from nlbs.shards.reading.cache import Cache
from tests.preprocess.roots import files_of as digests
from tests.reliability.conftest import TINY_CUT

OTHER_CUT = CutOptions(resolution=64, stride=64, min_foreground=0.5)


@pytest.fixture
def root(tiny_root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_root, tmp_path / "root"))


def moved_away(folder: Path, elsewhere: Path) -> Path:
    """Puts a folder elsewhere and a link to it in its place."""
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    return elsewhere


@pytest.mark.parametrize("target", ["r64-s64", "images.zarr"])
def test_overwrite_removes_nothing_through_a_link(
    tiny: Path, root: Path, tmp_path: Path, target: str
) -> None:
    elsewhere = moved_away(root / target, tmp_path / "elsewhere")
    before = digests(elsewhere)
    options = BuildOptions(csv=tiny / "meta.csv", out=root, cut=OTHER_CUT, workers=Workers(1), overwrite=True)
    with pytest.raises(NlbsError, match=rf"{root / target} is a symbolic link to another folder"):
        build_shards(options)
    assert digests(elsewhere) == before


def test_reshard_removes_nothing_through_a_link(root: Path, tmp_path: Path) -> None:
    elsewhere = moved_away(root / "r64-s64", tmp_path / "elsewhere")
    before = digests(elsewhere)
    with pytest.raises(NlbsError, match="is a symbolic link to another folder"):
        reshard(root, OTHER_CUT, Workers(1), overwrite=True)
    assert digests(elsewhere) == before


@pytest.mark.parametrize("name", ["replaced.json", "00000.json"])
def test_records_of_a_set_are_not_taken_from_elsewhere(root: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / name).write_text("{}")
    (root / "r64-s64" / "parts").symlink_to(elsewhere)
    with pytest.raises(NlbsError, match="is a symbolic link to another folder"):
        reshard(root, OTHER_CUT, Workers(1), overwrite=True)
    assert {path.name for path in elsewhere.iterdir()} == {name}


def test_a_root_that_is_itself_a_link_is_the_users_choice(tiny: Path, root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    build_shards(
        BuildOptions(csv=tiny / "meta.csv", out=link, cut=OTHER_CUT, workers=Workers(1), overwrite=True)
    )
    reshard(link, TINY_CUT, Workers(1), overwrite=True)


def test_a_set_behind_a_link_can_be_read(root: Path, tmp_path: Path) -> None:
    from nlbs.shards import open_shards

    moved_away(root / "r64-s64", tmp_path / "elsewhere")
    with open_shards(root / "r64-s64") as shards:
        assert len(shards.read(shards.rows()[:3])) == 3


def test_parts_are_not_written_through_a_link(tiny: Path, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / ".parts").symlink_to(elsewhere)
    options = BuildOptions(csv=tiny / "meta.csv", out=out, cut=TINY_CUT, workers=Workers(1))
    with pytest.raises(NlbsError, match=r"\.parts is a symbolic link"):
        build_part(options, parse_part("1/2"))
    with pytest.raises(NlbsError, match=r"\.parts is a symbolic link"):
        merge(out, Workers(1), overwrite=False)
    assert list(elsewhere.iterdir()) == []


def test_a_link_goes_and_its_folder_stays(tmp_path: Path) -> None:
    for remove in (LocalStore().remove, LocalStore().withdraw):
        kept, link = tmp_path / "kept", tmp_path / "link"
        kept.mkdir(exist_ok=True)
        (kept / "file").touch()
        link.symlink_to(kept)
        remove(link)
        assert not link.is_symlink()
        assert (kept / "file").exists()


@pytest.mark.parametrize("container", ["tar", "zarr"])
def test_a_shard_that_is_a_link_is_replaced_and_what_it_names_stays(
    root: Path, tmp_path: Path, container: str
) -> None:
    cut = CutOptions(resolution=64, stride=64, container=container)
    reshard(root, cut, Workers(1), overwrite=True)
    path = root / cut.name / f"00000.{container}"
    elsewhere = moved_away(path, tmp_path / "elsewhere")
    before = digests(elsewhere) if elsewhere.is_dir() else {"": elsewhere.read_bytes().hex()}
    again = CutOptions(resolution=64, stride=64, container=container, min_foreground=0.5)
    reshard(root, again, Workers(1), overwrite=True)
    assert not path.is_symlink()
    assert before == (digests(elsewhere) if elsewhere.is_dir() else {"": elsewhere.read_bytes().hex()})


def test_left_over_links_go_and_what_they_name_stays(tmp_path: Path) -> None:
    folder, kept = tmp_path / "folder", tmp_path / "kept"
    folder.mkdir()
    kept.mkdir()
    (kept / "file").touch()
    (folder / ".a.0123456789abcdef.partial").symlink_to(kept)
    (folder / ".b.12.partial").symlink_to(kept / "file")
    remove_partials(folder)
    assert list(folder.iterdir()) == []
    assert (kept / "file").exists()


def test_a_file_replaces_a_link_and_not_what_it_names(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.write_text("theirs")
    (tmp_path / "file").symlink_to(foreign)
    write_json(tmp_path / "file", {})
    assert foreign.read_text() == "theirs"
    assert not (tmp_path / "file").is_symlink()


def test_an_earlier_handle_reads_nothing_that_is_written_later(tmp_path: Path) -> None:
    """Names of temporaries cannot be guessed, and one that is there already is not written to."""
    old = os.umask(0)
    try:
        with atomic_file(tmp_path / "sources.csv", "w", 0o600, encoding="utf-8") as file:
            (temporary,) = tmp_path.iterdir()
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
            file.write("Jane Doe")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "sources.csv").stat().st_mode) == 0o600


def test_a_file_is_private_from_its_first_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only after an fchmod: a file system may have none, and a handle from before would stay open."""
    modes = []
    plain = os.open

    def watched(path: object, flags: int, *mode: int, **options: int) -> int:
        if flags & os.O_CREAT:
            assert flags & os.O_EXCL
            assert flags & os.O_NOFOLLOW
            modes.append(mode[0])
        return plain(path, flags, *mode, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", watched)
    with atomic_file(tmp_path / "sources.csv", "w", 0o600, encoding="utf-8"):
        pass
    load_pseudonyms(tmp_path / "config" / "key")
    assert modes == [0o600, 0o600]
    assert stat.S_IMODE((tmp_path / "config").stat().st_mode) & 0o077 == 0


def test_a_key_is_not_made_at_the_end_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to(tmp_path / "foreign")
    with pytest.raises(ConfigError, match="cannot use the key file"):
        load_pseudonyms(tmp_path / "key")
    assert not (tmp_path / "foreign").exists()


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_key_is_made_once_also_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    if not hard_links:  # exFAT, some FUSE and SMB
        monkeypatch.setattr(os, "link", _refuse)
    key = load_pseudonyms(tmp_path / "key").key
    assert load_pseudonyms(tmp_path / "key").key == key
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def _refuse(*arguments: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_a_pipe_in_the_place_of_the_key_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key")
    with pytest.raises(ConfigError, match="is no key file"):
        load_pseudonyms(tmp_path / "key")


def test_answers_and_captures_elsewhere_are_not_removed(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (elsewhere / "answer_key.csv").touch()
    (folder / "answers").symlink_to(elsewhere)
    record = {"recipe": "plain", "request": "a", "patches": 1, "resolution": 8, "format": "png"}
    write_json(folder / "samples.json", {**record, "request": "b"})
    with pytest.raises(NlbsError, match="answers is a symbolic link"):
        is_finished(folder, record, True)
    assert (elsewhere / "answer_key.csv").exists()


def test_metrics_of_a_run_are_not_appended_through_a_link(tmp_path: Path) -> None:
    from nlbs.train.log import Log
    from nlbs.train.run_folder import RunFolder

    run, foreign = RunFolder(tmp_path / "run"), tmp_path / "foreign"
    run.path.mkdir()
    run.metrics.symlink_to(foreign)
    with pytest.raises(OSError, match="symbolic links"):
        Log(run, 0)
    assert not foreign.exists()


def test_a_piece_in_the_cache_is_not_written_through_a_link(tmp_path: Path) -> None:
    foreign, cache = tmp_path / "foreign", Cache(tmp_path / "cache", 1000)
    foreign.write_text("theirs")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "piece").symlink_to(foreign)
    assert cache.put("piece", b"ours") is not None
    assert foreign.read_text() == "theirs"
