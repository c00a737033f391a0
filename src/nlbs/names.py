"""Names that stand in files: each kind has a pattern, and what does not match is no name.

A dataset root, a shard set, a store or a table may come from somebody else, who can write ``../../x`` where a name
is expected and mend every checksum. Whatever is taken from a file and becomes part of a path, a key of an archive or
an object goes through :func:`checked_name` first, so that nothing outside the folder is read, written or deleted.
"""

import re

from nlbs.errors import NlbsError, ShardError
from nlbs.text import shown

ID = r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}"

#: Kind of name -> its pattern, and how a message says it.
_KINDS: dict[str, tuple[re.Pattern[str], str]] = {
    kind: (re.compile(pattern, re.ASCII), expected)
    for kind, (pattern, expected) in {
        "image": (ID, "letters, digits, '_' and '-'"),
        "patient": (ID, "letters, digits, '_' and '-'"),
        "shard": (r"[0-9]{5,9}\.[a-z0-9]{1,10}", "a number and a container, such as 00000.tar"),
        "manifest": (r"manifest(-[0-9]{5,9})?\.arrow", "manifest.arrow or manifest-00002.arrow"),
        "description": (r"shard_set-[0-9]{5,9}\.json", "shard_set-00001.json"),
        "dataset_id": (r"[0-9a-f]{32}", "32 hexadecimal digits"),
        "sha256": (r"[0-9a-f]{64}", "64 hexadecimal digits"),
        "member": (r"[0-9A-Za-z][0-9A-Za-z_-]{0,199}", "letters, digits, '_' and '-'"),
        "picture": (r"[a-z]{1,40}(-[0-9]{1,12}){1,4}\.png", "a name such as synthetic-000000.png"),
        "piece": (r"[0-9a-z]{1,64}(/[0-9]{1,12}){0,2}(/[0-9a-f]{64}\.arrow)?", "an id and numbers"),
        "word": (r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,59}", "one word"),
    }.items()
}


def is_name(kind: str, text: object) -> bool:
    """Say whether a value of a file is a name of that kind."""
    return isinstance(text, str) and _KINDS[kind][0].fullmatch(text) is not None


def checked_name(
    kind: str, text: object, where: object, error: type[NlbsError] = ShardError, advice: str = ""
) -> str:
    """Return a name of a file, as it is, once it matches the pattern of its kind.

    Args:
        kind: "image", "patient", "shard", "manifest", "description", "dataset_id", "sha256", "member", "picture",
            "piece" or "word".
        text: what the file says.
        where: the file, for the message.
        error: what is raised.
        advice: what to do, for the end of the message.

    Raises:
        NlbsError: ``text`` is no such name. Nothing may be read, written or deleted by it.
    """
    if isinstance(text, str) and is_name(kind, text):
        return text
    raise error(
        f"{where} names a {kind.replace('_', ' ')} {shown(text)}, which is no such name (expected "
        f"{_KINDS[kind][1]}): nothing is done with it{'; ' if advice else ''}{advice}"
    )
