"""Tar shards as others read them: Python's tarfile, numpy.load, webdataset, GNU tar's own check."""

import io
import json
import shutil
import string
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from nlbs.shards.format.tar import member_header, npy_header, write_tar
from tests.conftest import some

Patches = list[tuple[str, npt.NDArray[Any], dict[str, Any]]]


def some_patches(count: int = 3, resolution: int = 16, dtype: str = "uint8") -> Patches:
    noise = np.random.default_rng(count)
    return [
        (
            f"{row:016x}_00000_{row:05d}",
            noise.integers(0, np.iinfo(dtype).max, (resolution, resolution), dtype=dtype),
            {"view": "CC", "age_years": None, "foreground": 0.25, "row": row},
        )
        for row in range(count)
    ]


def tar_of(patches: Patches) -> bytes:
    file = io.BytesIO()
    write_tar(file, patches)
    return file.getvalue()


def bitwise_crc32c(data: bytes) -> int:
    """The definition: reflected polynomial 0x82F63B78, all ones in, complement out (RFC 3720 12.1)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("pixels", "crc"),
    [
        # RFC 3720 B.4: 32 bytes each of zeros, of ones, incrementing and decrementing.
        (np.zeros((4, 8), np.uint8), 0x8A9136AA),
        (np.full((4, 8), 0xFF, np.uint8), 0x62A8AB43),
        (np.arange(32, dtype=np.uint8).reshape(4, 8), 0x46DD794E),
        (np.arange(31, -1, -1, dtype=np.uint8).reshape(4, 8), 0x113FDB5C),
    ],
)
def test_the_checksum_is_that_of_the_test_vectors_of_rfc_3720(
    pixels: npt.NDArray[np.uint8], crc: int
) -> None:
    assert write_tar(io.BytesIO(), [("k", pixels, {})])[0].crc32c == crc


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_placement_says_where_the_pixels_are_and_their_checksum(dtype: str) -> None:
    patches, file = some_patches(5, dtype=dtype), io.BytesIO()
    placements = write_tar(file, patches)
    for (_, pixels, _), place in some(zip(patches, placements, strict=True)):
        data = file.getvalue()[place.offset : place.offset + place.nbytes]
        np.testing.assert_array_equal(np.frombuffer(data, np.dtype(dtype).newbyteorder("<")), pixels.ravel())
        assert place.crc32c == bitwise_crc32c(data)


def test_tarfile_and_numpy_read_keys_pixels_and_records() -> None:
    patches = some_patches(4, dtype="uint16")
    with tarfile.open(fileobj=io.BytesIO(tar_of(patches))) as tar:
        names = tar.getnames()
        assert names == [f"{key}{suffix}" for key, _, _ in patches for suffix in (".npy", ".json")]
        for key, pixels, record in patches:
            found = np.load(io.BytesIO(tar.extractfile(f"{key}.npy").read()), allow_pickle=False)  # type: ignore[union-attr]
            assert found.dtype == np.uint16
            np.testing.assert_array_equal(found, pixels)
            assert json.loads(tar.extractfile(f"{key}.json").read()) == record  # type: ignore[union-attr]


def test_webdataset_reads_a_shard_as_it_is(tmp_path: Path) -> None:
    patches = some_patches(6)
    (tmp_path / "00000.tar").write_bytes(tar_of(patches))
    samples = list(webdataset.WebDataset(str(tmp_path / "00000.tar"), shardshuffle=False).decode())
    assert [sample["__key__"] for sample in samples] == [key for key, _, _ in patches]
    for sample, (_, pixels, record) in zip(samples, patches, strict=True):
        np.testing.assert_array_equal(sample["npy"], pixels)
        assert sample["json"] == record


def test_a_header_tells_no_time_user_or_host_and_is_ustar() -> None:
    data = tar_of(some_patches(2))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in some(tar):
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
            assert member.isreg()
            # POSIX 1003.1, ustar: magic and version at 257, type flag "0" at 156.
            header = data[member.offset : member.offset + 512]
            assert header[257:265] == b"ustar\x0000"
            assert header[156:157] == b"0"


def test_the_same_patches_give_the_same_bytes_whenever_written(monkeypatch: pytest.MonkeyPatch) -> None:
    first = tar_of(some_patches(3))
    monkeypatch.setattr("time.time", lambda: 4e9)
    monkeypatch.setattr("os.getuid", lambda: 12345)
    assert tar_of(some_patches(3)) == first


@given(count=st.integers(0, 6), resolution=st.integers(1, 40))
def test_a_shard_ends_with_two_zero_blocks_and_fills_its_last_record(count: int, resolution: int) -> None:
    data = tar_of(some_patches(count, resolution))
    assert len(data) % 10240 == 0  # 20 blocks, as GNU tar and POSIX pax write them
    assert data.endswith(bytes(1024))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert len(tar.getmembers()) == 2 * count
        assert tar.offset <= len(data) - 512  # it met the end blocks, and not the end of the file


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar on this machine")
def test_the_tar_command_lists_a_shard_without_complaint(tmp_path: Path) -> None:
    (tmp_path / "00000.tar").write_bytes(tar_of(some_patches(2)))
    done = subprocess.run(
        ["tar", "-tf", tmp_path / "00000.tar"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 4


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (256, 256), (4096, 4096)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_npy_header_is_what_numpy_writes(shape: tuple[int, int], dtype: str) -> None:
    pixels = np.zeros(shape, dtype)
    file = io.BytesIO()
    np.save(file, pixels)
    header = npy_header(pixels)
    assert header == file.getvalue()[: len(header)]
    assert len(header) == len(file.getvalue()) - pixels.nbytes == 128


def test_pixels_of_any_layout_in_memory_are_stored_row_by_row_little_endian() -> None:
    base = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    odd: Patches = [
        ("transposed", base.T, {}),
        ("strided", base[::2, ::-2], {}),
        ("big", base.astype(">u2"), {}),
    ]
    with tarfile.open(fileobj=io.BytesIO(tar_of(odd))) as tar:
        for key, pixels, _ in some(odd):
            data = tar.extractfile(f"{key}.npy").read()  # type: ignore[union-attr]
            np.testing.assert_array_equal(np.load(io.BytesIO(data)), pixels)
            assert data[128:] == pixels.astype("<u2").tobytes()


def test_a_record_that_json_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        tar_of([("k", np.zeros((2, 2), np.uint8), {"foreground": float("nan")})])


def test_the_checksum_library_agrees_with_the_definition() -> None:
    data = np.random.default_rng(0).bytes(4097)
    assert google_crc32c.value(data) == bitwise_crc32c(data)


@given(
    st.text(string.ascii_lowercase + string.digits + "_.", min_size=1, max_size=100),
    st.integers(0, 8**11 - 1),
)
def test_a_header_is_the_one_that_tarfile_writes(name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    assert member_header(name, size) == info.tobuf(tarfile.USTAR_FORMAT, encoding="ascii", errors="strict")
