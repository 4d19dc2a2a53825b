"""Suggest names that a user probably meant."""

import difflib
from collections.abc import Iterable

MOST = 20  # names that are listed in full


def near(name: str, names: Iterable[str]) -> str:
    """Return the names that are closest to a mistyped one, and a list of all names.

    Example:
      >>> near("trian", ["train", "list"])
      "did you mean 'train'? There are train, list."
    """
    names = list(names)
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    close = difflib.get_close_matches(str(name), names, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{hint}There are {', '.join(names[:MOST])}{more}."
