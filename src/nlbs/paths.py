"""Paths that commands take: local ones, and objects in an object store by their URL."""

import importlib.util
import posixpath
from pathlib import Path
from typing import TypeAlias

from click.types import FuncParamType

from nlbs.errors import ConfigError
from nlbs.remote import RemotePath

AnyPath: TypeAlias = Path | RemotePath

#: protocol -> package that speaks it, which is also the name of what installs it
_PACKAGES = {"s3": "s3fs"}


def as_path(text: str | AnyPath) -> AnyPath:
    """Return the path that a text means: "s3://bucket/folder" is remote, all else local.

    Raises:
        ConfigError: a protocol that is not known, whose package is missing, or that lacks a bucket.
    """
    if not isinstance(text, str):
        return text
    if "://" not in text:
        return Path(text)
    protocol, _, rest = text.partition("://")
    if protocol not in _PACKAGES:
        known = ", ".join(f"{name}://" for name in _PACKAGES)
        raise ConfigError(f"{protocol}:// is none of the object stores that this release reads ({known})")
    bucket, _, name = rest.partition("/")
    if "@" in bucket or not bucket:  # not repeated: what stands before an @ is a secret
        raise ConfigError(
            f"an address in an object store is {protocol}://bucket/folder; credentials are taken from AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if importlib.util.find_spec(_PACKAGES[protocol]) is None:
        raise ConfigError(
            f"{protocol}:// needs the package {_PACKAGES[protocol]}: pip install 'nlbs-cvae[{protocol}]'"
        )
    return RemotePath(protocol, posixpath.normpath(f"{bucket}/{name}"))


def _as_local_path(text: str) -> Path:
    if "://" in text:
        raise ConfigError(f"{text!r} is no local path, and this option takes nothing else")
    return Path(text)


#: Types of options: a path or an address in an object store, and a path alone.
PATH, LOCAL_PATH = FuncParamType(as_path), FuncParamType(_as_local_path)
PATH.name = LOCAL_PATH.name = "path"
