"""ONNX Runtime Web is taken as it is known, from a folder, the cache or npm, and from nowhere else."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlbs.errors import ConfigError
from nlbs.generate.page import runtime as module
from nlbs.generate.page.runtime import DIGESTS, runtime

FILES = dict.fromkeys(DIGESTS, b"words")


def unasked(line: str) -> None:
    raise AssertionError(line)


@pytest.fixture(autouse=True)
def _of_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The files are known by their words, and the cache is empty."""
    digest = hashlib.sha256(b"words").hexdigest()
    monkeypatch.setattr(module, "DIGESTS", dict.fromkeys(DIGESTS, digest))
    monkeypatch.setenv("NLBS_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def npm(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, bytes]], list[str]]:
    """Return a function that puts a package of some files into npm's place; it returns what is asked for."""

    def publish(files: dict[str, bytes]) -> list[str]:
        asked: list[str] = []
        package = io.BytesIO()
        with tarfile.open(fileobj=package, mode="w:gz") as archive:
            for name, data in files.items():
                entry = tarfile.TarInfo(f"package/dist/{name}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))

        def urlopen(address: str, timeout: float) -> Any:
            asked.append(address)
            return io.BytesIO(package.getvalue())

        monkeypatch.setattr(module.urllib.request, "urlopen", urlopen)
        return asked

    return publish


def test_it_is_fetched_once(
    npm: Callable[[dict[str, bytes]], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = npm(FILES)
    said: list[str] = []
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://mirror.example/")
    assert runtime(None, said.append) == FILES
    assert asked == [f"https://mirror.example/onnxruntime-web/-/onnxruntime-web-{module.VERSION}.tgz"]
    assert len(said) == 1
    assert runtime(None, unasked) == FILES
    assert len(asked) == 1


def test_a_file_of_the_cache_that_was_changed_is_fetched_again(
    npm: Callable[[dict[str, bytes]], list[str]], tmp_path: Path
) -> None:
    asked = npm(FILES)
    runtime(None, lambda line: None)
    (file,) = (tmp_path / "cache").rglob(module.CODE)
    file.write_bytes(b"other words")
    assert runtime(None, lambda line: None) == FILES
    assert len(asked) == 2


def test_another_package_is_refused(npm: Callable[[dict[str, bytes]], list[str]]) -> None:
    npm({**FILES, module.BINARY: b"other words"})
    with pytest.raises(ConfigError, match=f"another {module.BINARY}"):
        runtime(None, lambda line: None)
    npm({})
    with pytest.raises(ConfigError, match=r"cannot fetch .* --runtime"):
        runtime(None, lambda line: None)


def test_without_a_network_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://localhost:1")
    with pytest.raises(
        ConfigError, match=r"cannot fetch https://localhost:1.*npm pack onnxruntime-web@.* --runtime"
    ):
        runtime(None, lambda line: None)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://localhost:1")
    with pytest.raises(ConfigError, match="begins with https"):
        runtime(None, lambda line: None)


def test_a_folder_is_taken_as_it_is_or_refused(tmp_path: Path) -> None:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    assert runtime(tmp_path, unasked) == FILES
    (tmp_path / module.BINARY).unlink()
    with pytest.raises(ConfigError, match=f"holds no {module.BINARY} of onnxruntime-web"):
        runtime(tmp_path, unasked)
