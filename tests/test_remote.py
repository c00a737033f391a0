"""Objects by pathlib's interface, against a server of the S3 protocol that another client writes to.

Also covers: paths.py.
"""

import copy
import os
from pathlib import Path

import pytest
import requests

from nlbs.errors import ConfigError, ObjectStoreError
from nlbs.files import atomic_file, atomic_folder, write_json
from nlbs.paths import as_path
from nlbs.remote import RemotePath, scratch_file
from nlbs.stores import store_of
from tests.conftest import Bucket


def remote(bucket: Bucket, key: str = "") -> RemotePath:
    path = as_path(bucket.url(key))
    assert isinstance(path, RemotePath)
    return path


def test_a_path_without_a_protocol_is_local() -> None:
    assert as_path("a/b") == Path("a/b")
    assert as_path(Path("s3")) == Path("s3")


def test_an_address_has_the_parts_of_a_path() -> None:
    path = as_path("s3://bucket/folder//image.tar/")
    assert str(path) == "s3://bucket/folder/image.tar"
    assert (path.name, path.stem, str(path.parent)) == ("image.tar", "image", "s3://bucket/folder")
    assert str(path.with_name("other")) == "s3://bucket/folder/other"
    assert copy.deepcopy(path) == path  # by the way that leads to a worker process
    with pytest.raises(TypeError):
        os.fspath(path)  # type: ignore[call-overload]  # so that no address is ever opened as a local file


@pytest.mark.parametrize("text", ["gs://bucket/a", "http://host/a", "s3://", "s3:///a"])
def test_an_address_that_cannot_be_used_is_explained(text: str) -> None:
    with pytest.raises(ConfigError, match="object store"):
        as_path(text)


def test_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as refused:
        as_path("s3://AKIAKEY:verysecret@bucket/folder")
    assert "AKIAKEY" not in str(refused.value)
    assert "verysecret" not in str(refused.value)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'nlbs-cvae\[s3\]'"):
        as_path("s3://bucket/folder")


def test_what_another_client_writes_is_seen_at_once(bucket: Bucket) -> None:
    folder = remote(bucket, "a")
    assert not folder.exists()
    assert folder.sizes() == {}
    bucket.put("a/x", b"12345")
    bucket.put("a/b/y", b"1")
    bucket.put("ab/z", b"of another folder")
    assert folder.is_dir()
    assert (folder / "x").is_file()
    assert [path.name for path in folder.iterdir()] == ["b", "x"]
    assert [path.name for path in folder.glob("?")] == ["b", "x"]
    assert [path.name for path in folder.glob("x*")] == ["x"]
    assert folder.sizes() == {"x": 5, "b/y": 1}
    assert (folder / "x").read_bytes() == b"12345"
    assert (folder / "x").read_range(1, 3) == b"23"
    assert (folder / "x").stat().st_size == 5
    with (folder / "x").open("rb") as file:
        assert file.read() == b"12345"


def test_an_object_has_another_tag_once_its_content_changes(bucket: Bucket) -> None:
    bucket.put("x", b"1")
    before = remote(bucket, "x").stat().etag
    bucket.put("x", b"1")
    assert remote(bucket, "x").stat().etag == before
    bucket.put("x", b"2")
    assert remote(bucket, "x").stat().etag != before


def test_an_object_appears_when_it_is_complete(bucket: Bucket) -> None:
    path = remote(bucket, "a/x")
    with atomic_file(path, "w+b") as file:
        file.write(b"all of it")
        file.seek(0)
        assert file.read() == b"all of it"
        assert bucket.names() == set()
    assert bucket.get("a/x") == b"all of it"


def test_an_exception_leaves_an_object_as_it_was(bucket: Bucket) -> None:
    bucket.put("x", b"before")
    with pytest.raises(ZeroDivisionError), atomic_file(remote(bucket, "x")) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert bucket.get("x") == b"before"
    with pytest.raises(ZeroDivisionError), atomic_folder(remote(bucket, "f")) as folder:
        (folder / "a").write_bytes(b"half")
        raise ZeroDivisionError
    assert bucket.names() == {"x"}


def test_text_is_written_with_the_bytes_of_a_local_file(bucket: Bucket, tmp_path: Path) -> None:
    value = {"b": "é", "a": [1, None]}
    write_json(tmp_path / "x.json", value)
    write_json(remote(bucket, "x.json"), value)
    assert bucket.get("x.json") == (tmp_path / "x.json").read_bytes()


def test_a_folder_appears_by_the_file_that_describes_it_last(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    upload = RemotePath.upload
    monkeypatch.setattr(
        RemotePath, "upload", lambda path, local: (order.append(path.name), upload(path, local))
    )
    with atomic_folder(remote(bucket, "image")) as folder:
        (folder / "zarr.json").write_bytes(b"{}")
        (folder / "c" / "0").mkdir(parents=True)
        (folder / "c" / "0" / "0").write_bytes(b"pixels")
    assert order == ["0", "zarr.json"]
    assert bucket.get("image/c/0/0") == b"pixels"
    image = remote(bucket, "image")
    store_of(image).remove(image)
    assert bucket.names() == set()


def test_a_scratch_file_can_be_opened_again_and_has_no_name() -> None:
    with scratch_file() as (file, path):
        file.write(b"123")
        file.flush()
        assert path.read_bytes() == b"123"
        name = path.readlink() if path.is_symlink() else path
    assert not Path(name).exists()


def test_an_object_that_is_not_there_is_like_a_file_that_is_not_there(bucket: Bucket) -> None:
    path = remote(bucket, "nothing")
    for ask in (path.read_bytes, path.stat, lambda: path.open("rb"), lambda: path.read_range(0, 1)):
        with pytest.raises(FileNotFoundError, match="nothing"):
            ask()
    path.unlink(missing_ok=True)


def test_a_missing_bucket_is_named(bucket: Bucket) -> None:
    path = as_path("s3://no-such-bucket-here/x")
    assert isinstance(path, RemotePath)
    for ask in (
        path.read_bytes,
        lambda: path.write_bytes(b"1"),
        lambda: path.write_bytes(b"1", exclusive=True),
    ):
        with pytest.raises(ObjectStoreError, match="no bucket 'no-such-bucket-here'"):
            ask()


def test_an_object_is_made_by_one_process_only(bucket: Bucket) -> None:
    remote(bucket, "x").write_bytes(b"first", exclusive=True)
    with pytest.raises(FileExistsError):
        remote(bucket, "x").write_bytes(b"second", exclusive=True)
    assert bucket.get("x") == b"first"


def test_who_has_no_rights_is_told_so(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    bucket.put("x", b"1")
    people = boto3.client("iam")
    people.create_user(UserName="guest")
    key = people.create_access_key(UserName="guest")["AccessKey"]
    people.close()
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    monkeypatch.setattr("nlbs.remote._opened", {})
    requests.post(f"{endpoint}/moto-api/reset-auth", data=b"0", timeout=5)  # from now on rights count
    try:
        with pytest.raises(ObjectStoreError, match=r"does not accept the credentials \(InvalidAccessKeyId\)"):
            remote(bucket, "x").read_bytes()
        monkeypatch.setattr("nlbs.remote._opened", {})
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        with pytest.raises(PermissionError, match="denies access"):
            remote(bucket, "x").read_bytes()
    finally:
        requests.post(f"{endpoint}/moto-api/reset-auth", data=b"inf", timeout=5)


def test_an_endpoint_that_nobody_answers_is_explained(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlbs.remote._opened", {})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ObjectStoreError, match="cannot reach the object store of s3://"):
        remote(bucket, "x").read_bytes()


def test_without_credentials_it_is_said_where_they_come_from(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("nlbs.remote._opened", {})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ObjectStoreError, match="no credentials for s3://"):
        remote(bucket, "x").write_bytes(b"1")
