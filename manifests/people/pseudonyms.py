"""Ids that tell nothing about a patient: keyed hashes, the key kept outside every dataset."""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from nlbs.errors import ConfigError
from nlbs.local_store import temporary_path
from nlbs.system_calls import BINARY, PLAIN, link_new, sync, sync_folder

KEY_VARIABLE = "NLBS_KEY_FILE"
_MOST_BYTES = 1024  # of a key file that are read: a key and room for blanks


@dataclass(frozen=True)
class Pseudonyms:
    """Makes ids with one secret key: the same key and text give the same id, on any machine."""

    key: bytes

    def image(self, path: str) -> str:
        """Return the id of an image from its path in the dataset: 16 hexadecimal digits."""
        return self._digest("image", path)[:16]

    def patient(self, patient: str) -> str:
        """Return the id of a patient: "p" and 12 hexadecimal digits."""
        return "p" + self._digest("patient", patient)[:12]

    @property
    def fingerprint(self) -> str:
        """Tell keys apart without telling the key."""
        return self._digest("fingerprint", "")[:16]

    def _digest(self, kind: str, text: str) -> str:
        # A file's name need not be UTF-8, and must not end a build.
        message = f"nlbs {kind} {text}".encode(errors="backslashreplace")
        return hmac.new(self.key, message, hashlib.sha256).hexdigest()


def default_key_file() -> Path:
    """Return where the key lies when nobody says otherwise: ``$NLBS_KEY_FILE``, else the user's own folder.

    Raises:
        ConfigError: the user has no home folder.
    """
    if os.environ.get(KEY_VARIABLE):
        return Path(os.environ[KEY_VARIABLE])
    try:
        config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    except RuntimeError:
        raise ConfigError(
            f"this user has no home folder for the key file: name one with --key-file or {KEY_VARIABLE}"
        ) from None
    return Path(config) / "nlbs-cvae" / "key"


def load_pseudonyms(path: Path) -> Pseudonyms:
    """Return the pseudonyms of the key in a file; a file that is not there is made, readable by its owner only.

    Raises:
        ConfigError: the file cannot be read or made, or does not hold 64 hexadecimal digits.
    """
    try:
        if not path.exists():
            _make_key(path)
        text = _read(path).decode("ascii").strip()
    except OSError as error:
        raise ConfigError(
            f"cannot use the key file {path} ({error.strerror or error}); image and patient ids are made with it: "
            f"name another with --key-file or {KEY_VARIABLE}"
        ) from None
    except UnicodeDecodeError:
        text = ""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise ConfigError(
            f"{path} is no key file (expected 64 hexadecimal digits on one line): put the right one back, or "
            f"name another with --key-file or {KEY_VARIABLE}"
        )
    return Pseudonyms(bytes.fromhex(text))


def _read(path: Path) -> bytes:
    """Return the start of a file that is one; the user may have put a link to a key there, no pipe is waited for."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | BINARY)
    with open(descriptor, "rb") as file:
        return file.read(_MOST_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""


def _make_key(path: Path) -> None:
    """Write a new key: whole from the first moment, and never over that of a process that was quicker."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary, text = temporary_path(path), f"{secrets.token_hex(32)}\n".encode()
    with contextlib.suppress(FileExistsError):
        try:
            _write_new(temporary, text)
            if not link_new(temporary, path):  # no hard links here: whole from the second moment
                _write_new(path, text)
        finally:
            temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _write_new(path: Path, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            sync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
