"""Ids that tell nothing about a patient: keyed hashes, the key kept outside every dataset."""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from nlbs.errors import ConfigError
from nlbs.files import sync_folder, temporary_path

KEY_VARIABLE = "NLBS_KEY_FILE"


@dataclass(frozen=True)
class Pseudonyms:
    """Makes ids with one secret key: the same key and text give the same id, on any machine."""

    key: bytes

    def image(self, path: str) -> str:
        """Gives the id of an image from its path in the dataset: 16 hexadecimal digits."""
        return self._digest("image", path)[:16]

    def patient(self, patient: str) -> str:
        """Gives the id of a patient: "p" and 12 hexadecimal digits."""
        return "p" + self._digest("patient", patient)[:12]

    @property
    def fingerprint(self) -> str:
        """Tells keys apart without telling the key."""
        return self._digest("fingerprint", "")[:16]

    def _digest(self, kind: str, text: str) -> str:
        # A file's name need not be UTF-8, and must not end a build.
        message = f"nlbs {kind} {text}".encode(errors="backslashreplace")
        return hmac.new(self.key, message, hashlib.sha256).hexdigest()


def default_key_file() -> Path:
    """Gives where the key lies when nobody says otherwise: ``$NLBS_KEY_FILE``, else the user's own folder.

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
    """Gives the pseudonyms of the key in a file; a file that is not there is made, readable by its owner only.

    Raises:
        ConfigError: the file cannot be read or made, or does not hold 64 hexadecimal digits.
    """
    try:
        if not path.exists():
            _make_key(path)
        text = path.read_text(encoding="ascii").strip()
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


def _make_key(path: Path) -> None:
    """Writes a new key: whole from the first moment, and never over that of a process that was quicker."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = temporary_path(path)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
