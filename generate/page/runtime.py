"""ONNX Runtime Web, which runs graphs in a browser: one version, fetched once from npm, or taken from a folder."""

import hashlib
import io
import os
import tarfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from nlbs.errors import ConfigError
from nlbs.files import atomic_file
from nlbs.shards.reading.cache import default_folder

VERSION = "1.30.0"
CODE, BINARY = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
#: SHA-256 of what is taken of the package.
DIGESTS = {
    CODE: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    BINARY: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
_PACKAGE = f"onnxruntime-web-{VERSION}"
_MOST_BYTES, _TIMEOUT_S = 200 << 20, 60
_BY_HAND = (
    f"get it elsewhere by: npm pack onnxruntime-web@{VERSION}; unpack it, and give its folder package/dist with "
    "--runtime"
)


def runtime(folder: Path | None, say: Callable[[str], None]) -> dict[str, bytes]:
    """Return the files of the runtime by name.

    Args:
        folder: that holds them; None: the user's cache, into which they are fetched where they are missing.
        say: told what is fetched.

    Raises:
        ConfigError: they are not to be had, or are others than those of :data:`VERSION`.
    """
    place = default_folder() / _PACKAGE if folder is None else folder
    files = {name: _read(place / name) for name in DIGESTS}
    if not (wrong := _wrong(files)):
        return files
    if folder is not None:
        raise ConfigError(f"{folder} holds no {wrong} of onnxruntime-web {VERSION}; {_BY_HAND}")
    say(f"Fetching onnxruntime-web {VERSION} from npm into {place}")
    files = _fetched()
    for name, data in files.items():
        with atomic_file(place / name) as file:
            file.write(data)
    return files


def _fetched() -> dict[str, bytes]:
    """Return the files out of the package. Raises ConfigError: it cannot be had, or is another."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY") or "https://registry.npmjs.org"
    address = f"{registry.rstrip('/')}/onnxruntime-web/-/{_PACKAGE}.tgz"
    if not address.startswith("https://"):
        raise ConfigError(f"the npm registry is {registry}; expected an address that begins with https://")
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer:  # noqa: S310  # https alone
            package = io.BytesIO(answer.read(_MOST_BYTES))
        with tarfile.open(fileobj=package) as members:
            found = {name: members.extractfile(f"package/dist/{name}") for name in DIGESTS}
            files = {name: file.read() for name, file in found.items() if file is not None}
    except (OSError, tarfile.TarError, KeyError) as error:
        raise ConfigError(f"cannot fetch {address} ({error}); {_BY_HAND}") from None
    if wrong := _wrong(files):
        raise ConfigError(f"{address} holds another {wrong} than that of {VERSION}: somebody changed it")
    return files


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _wrong(files: dict[str, bytes]) -> str:
    """Return the name of a file that is missing or another one; empty: there is none."""
    digests = {name: hashlib.sha256(files.get(name, b"")).hexdigest() for name in DIGESTS}
    return next((name for name, digest in DIGESTS.items() if digests[name] != digest), "")
