"""Ids by a secret key: stable, one way, and the key file safe from everyone else."""

import hashlib
import hmac
import multiprocessing
import os
import re
import stat
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbs.errors import ConfigError
from nlbs.manifests.people.pseudonyms import Pseudonyms, default_key_file, load_pseudonyms

KEY = bytes(range(32))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def hmac_sha256(key: bytes, text: str) -> str:
    """RFC 2104 written out: H((K ^ opad) || H((K ^ ipad) || text)), for keys of at most 64 bytes."""
    block = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + text.encode()).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in block) + inner).hexdigest()


@given(st.text(max_size=40))
def test_ids_are_the_documented_keyed_hashes(text: str) -> None:
    ids = Pseudonyms(KEY)
    assert ids.image(text) == hmac_sha256(KEY, f"nlbs image {text}")[:16]
    assert ids.patient(text) == "p" + hmac_sha256(KEY, f"nlbs patient {text}")[:12]


def test_our_hmac_is_the_one_of_rfc_4231() -> None:
    # RFC 4231, test case 2.
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert hmac_sha256(b"Jefe", "what do ya want for nothing?") == expected
    assert hmac.new(b"Jefe", b"what do ya want for nothing?", "sha256").hexdigest() == expected


def test_another_key_gives_other_ids_and_another_fingerprint() -> None:
    one, other = Pseudonyms(KEY), Pseudonyms(bytes(32))
    assert one.image("a.dcm") != other.image("a.dcm")
    assert one.patient("7") != other.patient("7")
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == Pseudonyms(KEY).fingerprint
    assert KEY.hex()[:16] not in one.fingerprint


def test_a_key_is_made_once_and_then_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "key"
    first = load_pseudonyms(path)
    assert re.fullmatch(r"[0-9a-f]{64}\n", path.read_text())
    assert first.key == bytes.fromhex(path.read_text())
    assert load_pseudonyms(path) == first
    assert load_pseudonyms(tmp_path / "other") != first
    assert names(path.parent) == ["key"]


def test_only_the_owner_can_read_a_key(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        load_pseudonyms(tmp_path / "folder" / "key")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "folder" / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700


def test_a_key_that_cannot_be_written_whole_is_not_there_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ConfigError, match="No space left on device"):
        load_pseudonyms(tmp_path / "key")
    assert names(tmp_path) == []


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) / "key" for number in range(200)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        one, other = pool.submit(keys_of, paths), pool.submit(keys_of, paths)
        assert one.result(60) == other.result(60)


def keys_of(paths: list[Path]) -> list[bytes]:
    return [load_pseudonyms(path).key for path in paths]


def test_a_key_may_be_written_by_hand(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"  {KEY.hex().upper()}\r\n\n")
    assert load_pseudonyms(tmp_path / "key") == Pseudonyms(KEY)


@pytest.mark.parametrize("data", [b"", b"\n", b"secret", b"0" * 63, b"0" * 65, b"g" * 64, b"\xff" * 64])
def test_a_garbled_key_file_is_refused_and_left_as_it_is(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "key").write_bytes(data)
    with pytest.raises(ConfigError, match=rf"{tmp_path}/key is no key file \(expected 64 hex.*--key-file"):
        load_pseudonyms(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == data


def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=rf"cannot use the key file {tmp_path} \(Is a directory\).*NLBS_KEY_FILE"
    ):
        load_pseudonyms(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/key \((Not a directory|File exists)\)"):
        load_pseudonyms(tmp_path / "file" / "key")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read any file")
def test_a_key_file_of_somebody_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY.hex())
    (tmp_path / "key").chmod(0)
    with pytest.raises(ConfigError, match="Permission denied"):
        load_pseudonyms(tmp_path / "key")


def test_the_key_lies_where_the_user_says_or_in_the_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLBS_KEY_FILE", str(tmp_path / "mine"))
    assert default_key_file() == tmp_path / "mine"
    monkeypatch.setenv("NLBS_KEY_FILE", "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert default_key_file() == tmp_path / "config" / "nlbs-cvae" / "key"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_key_file() == tmp_path / ".config" / "nlbs-cvae" / "key"


def test_a_user_without_a_home_is_told_to_name_a_key_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("NLBS_KEY_FILE", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    with pytest.raises(ConfigError, match="no home folder for the key file: name one with --key-file"):
        default_key_file()
