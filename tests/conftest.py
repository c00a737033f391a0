"""What tests share: a key of their own, a small phantom, and the dataset root built from it."""

import contextlib
import importlib
import io
import logging
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from filelock import FileLock
from hypothesis import settings

# A slow machine fails no test: no test asserts times.
settings.register_profile("nlbs", deadline=None)
settings.load_profile("nlbs")

Item = TypeVar("Item")
SHARED = Path(__file__).parents[2] / "shared"  # beside the repository on some machines; tests skip without it


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Lets the worker processes of a command stay for the next test: they go where the environment changes."""
    os.environ.pop("PYTEST_CURRENT_TEST", None)


@pytest.fixture(scope="session", autouse=True)
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A key for pseudonyms, so that no test touches the user's own."""
    path = tmp_path_factory.getbasetemp().parent / "nlbs-test-key"  # the same for all processes of a test run
    os.environ["NLBS_KEY_FILE"] = str(path)
    yield path
    del os.environ["NLBS_KEY_FILE"]


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Returns a folder that the first process of a test run makes, and the others find. Not to be changed."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made-once" / name
    folder.parent.mkdir(exist_ok=True)
    done = folder.with_name(f"{name}.done")
    with FileLock(f"{done}.lock"):
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 4 made-up patients, 16 images of 5 transfer syntaxes, meta.csv and truth.csv. Not to be changed."""
    from nlbs.preprocess.phantom.screening_set import write_phantom

    def make(folder: Path) -> None:
        write_phantom(folder, patients=4, seed=0, rows=768, columns=600)

    return made_once(tmp_path_factory, "phantom", make)


@pytest.fixture(scope="session")
def dataset_root(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset root with one shard set of 64-pixel patches of the phantom. Not to be changed."""

    def make(folder: Path) -> None:
        # A process of its own, in which sets have another order than in those that are forked.
        build = [sys.executable, "-m", "nlbs.preprocess", "build-shards", "--csv", phantom / "meta.csv"]
        done = subprocess.run([*build, "--out", folder, *CUT], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    # A copy for each process, whose commands lock it.
    made = made_once(tmp_path_factory, "shards", make)
    return shutil.copytree(made, tmp_path_factory.mktemp("root") / "shards")


@pytest.fixture(scope="session")
def object_store() -> Iterator[Any]:
    """A client of an S3 server on the loopback, which AWS_ENDPOINT_URL names while tests run."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-real-secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.delenv(name, raising=False)
        client = boto3.client("s3")
        yield client
        client.close()
    server.stop()


@pytest.fixture
def bucket(object_store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Bucket":
    """An empty bucket, and an empty cache for what is read from it."""
    monkeypatch.setenv("NLBS_CACHE_DIR", str(tmp_path / "cache"))
    name = f"bucket-{secrets.token_hex(4)}"
    object_store.create_bucket(Bucket=name)
    return Bucket(object_store, name)


@dataclass(frozen=True)
class Bucket:
    """A bucket as an independent client sees it."""

    client: Any
    name: str

    def url(self, key: str = "") -> str:
        """Gives the address of an object or folder."""
        return f"s3://{self.name}/{key}".rstrip("/")

    def put(self, key: str, data: bytes) -> None:
        """Writes an object."""
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def put_folder(self, key: str, folder: Path) -> None:
        """Writes every file of a folder."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{key}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def get(self, key: str) -> bytes:
        """Reads an object."""
        data: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data

    def names(self, folder: str = "") -> set[str]:
        """Gives the names of all objects in a folder, from there on."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=folder)
        names = {item["Key"] for page in pages for item in page.get("Contents", [])}
        return {name.removeprefix(f"{folder}/") for name in names}

    def contents(self, folder: str) -> dict[str, bytes]:
        """Gives all objects of a folder by name, without its lock."""
        return {name: self.get(f"{folder}/{name}") for name in self.names(folder) if name != ".lock"}


def some(items: Iterable[Item]) -> Iterator[Item]:
    """Yields what a loop of assertions goes through: there has to be something, as over nothing it proves nothing."""
    count = 0
    for count, item in enumerate(items, start=1):  # noqa: B007
        yield item
    assert count, "there was nothing to look at"


#: The patches that tests cut from the phantom.
CUT = ("--resolution", "64", "--stride", "64", "--jobs", "1")


def run_command(
    program: str, *arguments: object, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs nlbs-PROGRAM in this process, as what it imports takes a second, and gives what it said."""
    main = importlib.import_module(f"nlbs.{program}.cli").main
    words, out, err = [str(argument) for argument in arguments], io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd or Path.cwd()), redirect_stdout(out), redirect_stderr(err):
        try:
            main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess([program, *words], code, out.getvalue(), err.getvalue())
