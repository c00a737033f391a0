"""What stands below a picture of a patch: its conditions in words."""

from collections.abc import Mapping

from nlbs.manifests.schema import NLBS, Condition, Schema

#: What a question mark stands behind where the value of a condition is not known.
_SHORT = {"laterality": "side", "age_bin": "age"}


def short_name(condition: Condition) -> str:
    """Return the name of a condition as a sentence about patches has it: "side", "age", "false positive"."""
    return _SHORT.get(condition.name, condition.label)


def caption(words: Mapping[str, str], schema: Schema) -> str:
    """Return the conditions of a patch in lines for below a picture; what is unknown has a question mark.

    Args:
        words: as :meth:`nlbs.manifests.schema.Schema.words` gives them; what is not to be told is left out.
        schema: of the conditions.
    """
    told = [condition for condition in schema if condition.name in words]
    place = [c for c in told if c in NLBS and c.kind != "binary"]
    flags = [c for c in told if c.kind == "binary"]
    others = [c for c in told if c not in NLBS and c.kind != "binary"]
    lines = (
        " ".join(words[c.name] or f"{short_name(c)}?" for c in place),
        _flags({c.label: words[c.name] for c in flags}, flags),
        *(f"{c.label} {_short(words[c.name], c)}" for c in others),
    )
    return "\n".join(filter(None, lines))


def _short(word: str, condition: Condition) -> str:
    """Return the word of a condition, numbers with three digits."""
    if condition.kind != "continuous" or not word:
        return word or "?"
    return ",".join(f"{float(number):.3g}" for number in word.split(","))


def _flags(words: Mapping[str, str], conditions: list[Condition]) -> str:
    if words and set(words.values()) == {"no"} and all(c.healthy == 0 for c in conditions):
        return "normal"
    # Beside what is unknown a "no" is no matter of course; beside a "yes" it is: a patch has one of the two.
    shown = {"yes": "{}", "": "{}?"} | ({} if "yes" in words.values() else {"no": "no {}"})
    return ", ".join(shown[word].format(label) for label, word in words.items() if word in shown)
