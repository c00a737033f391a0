"""Refuses to build from a checkout without its links; everything else stands in setup.cfg.

The folders of code at the root are packages by symbolic links in ``src/nlbs``. Git for Windows without developer mode,
and programs that unpack a downloaded zip, write text files in their place: the wheel would be empty.
"""

import sys
from pathlib import Path

from setuptools import setup

_FOLDERS = ("cvae", "evaluate", "generate", "manifests", "models", "preprocess", "shards", "train")

_package = Path(__file__).resolve().parent / "src" / "nlbs"
_missing = [name for name in _FOLDERS if not (_package / name / "__init__.py").is_file()]
if _missing:
    sys.exit(
        f"error: nothing was built, because src/nlbs lacks the symbolic links {', '.join(_missing)}: clone with 'git "
        "clone -c core.symlinks=true' (on Windows in developer mode, or in WSL); an unpacked zip download has no links"
    )

setup()
