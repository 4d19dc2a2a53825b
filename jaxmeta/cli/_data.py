"""``jaxmeta data``: fetch a data set; check, describe and look at images, a folder, a zip or a data set by name."""

import json as jsonlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from jaxmeta._suggest import near
from jaxmeta.datasets._inspect import EPISODE, Found, Part, Source, open_source, read_all, shown, summary
from jaxmeta.datasets._registry import DATASETS
from jaxmeta.datasets._registry import fetch as fetch_data
from jaxmeta.storage import write_whole

from ._flags import Call, parse
from ._plan import size
from ._results import console

What = Annotated[str, tyro.conf.Positional]
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
T = TypeVar("T")
MOST = 20  # problems that are told in full

_HELP = """\
jaxmeta data fetch NAME        omniglot by its authors' zips, or any data set of TFDS
jaxmeta data check WHAT        read every image; exit code 2 if anything is wrong with any of them
jaxmeta data describe WHAT     classes, images per class, shapes, bytes, and which episodes they allow
jaxmeta data preview WHAT      a picture with a row of images per class

WHAT is a folder or zip of class folders, in folders train, val and test or not, or a name: omniglot, grocery,
cifar_fs, fc100, miniimagenet, tieredimagenet, cub, or one of TFDS. `jaxmeta data check --help` explains its flags.
"""


ALL = Part()


def command(args: list[str]) -> Call:
    """Read the flags of one of the four."""
    if not args or args[0] in ("-h", "--help"):
        return Call(_help, (), {})
    if args[0] not in ACTIONS:
        raise ValueError(f"there is no `jaxmeta data {args[0]}`; {near(args[0], ACTIONS)}")
    return parse(ACTIONS[args[0]], f"jaxmeta data {args[0]}", args[1:])


def _help() -> int:
    print(_HELP, end="")
    return 0


def fetch(name: What, /, *, data_dir: str | None = None) -> int:
    """Download a data set, or the part of it that is missing.

    Args:
      name: omniglot, cifar_fs, fc100, cub, or a data set of TFDS such as cifar100.
      data_dir: where it goes. By default the cache folder for omniglot, and TFDS's own folder for the others.
    """
    if name not in DATASETS and Path(name).exists() and not name.isidentifier():
        raise ValueError(f"{shown(name)!r} is here already; `jaxmeta data check` and `jaxmeta train` take it as it is.")
    print(f"{name}: in {fetch_data(name, data_dir)}")
    return 0


def check(
    what: What,
    /,
    *,
    part: Annotated[Part, tyro.conf.arg(name="")] = ALL,
    json: Flag = False,
) -> int:
    """Read every image, and print everything that is wrong at once, file by file.

    Problems are: files that are damaged or are no images, images in no class folder, images of more than 8 bits or of
    one colour, links to other places, empty folders, and classes that are both in train and in test.

    Args:
      what: a folder or zip, or a data set's name.
      part: the part of it that is read.
      json: print JSON.
    """
    with open_source(what, part) as source:
        found = _read(source)
    good = sum(found.shapes.values())
    if json:
        print(jsonlib.dumps({"images": good, "problems": found.odd, "notes": source.notes}, indent=2))
    else:
        for text in found.odd[:MOST]:
            print(_shown_whole(text))
        if len(found.odd) > MOST:
            print(f"... and {len(found.odd) - MOST} more, all of which `--json` prints")
        for text in source.notes:
            print(f"note: {_shown_whole(text)}")
        print(f"{shown(what)}: {good:,} images can be read, {len(found.odd):,} problem{'s' * (len(found.odd) != 1)}")
    return 2 if found.odd else 0


def describe(
    what: What,
    /,
    *,
    part: Annotated[Part, tyro.conf.arg(name="")] = ALL,
    json: Flag = False,
) -> int:
    """Read every image, and print how many there are, of which classes and shapes.

    Args:
      what: a folder or zip, or a data set's name.
      part: the part of it that is read.
      json: print JSON.
    """
    with open_source(what, part) as source:
        found = _read(source)
        about = summary(source, found)
    if json:
        print(jsonlib.dumps(about, indent=2))
    else:
        _print(what, about)
    return 2 if source.shared else 0


def preview(
    what: What,
    /,
    *,
    out: Path = Path("grid.png"),
    part: Annotated[Part, tyro.conf.arg(name="")] = ALL,
    num_classes: int = 12,
    num_images: int = 10,
) -> int:
    """Draw a row of images for each of some classes, spread over all of them.

    Args:
      what: a folder or zip, or a data set's name.
      out: the picture, a PNG that is not there yet.
      part: the part of it that is read.
      num_classes: rows.
      num_images: images of a row, at most.
    """
    if out.suffix.lower() != ".png" or out.exists():
        why = "is there already, and nothing is overwritten" if out.exists() else "is no name of a PNG"
        raise ValueError(f"`--out`: {str(out)!r} {why}. Choose another name.")
    for name, value in (("num-classes", num_classes), ("num-images", num_images)):
        if not 1 <= value <= 100:
            raise ValueError(f"`--{name}` must be from 1 to 100, got {value}.")
    with open_source(what, part) as source:
        _draw(source, out, num_classes, num_images)
    print(f"picture: {out}")
    return 0


ACTIONS: dict[str, Callable[..., int]] = {"fetch": fetch, "check": check, "describe": describe, "preview": preview}


def _draw(source: Source, out: Path, num_classes: int, num_images: int) -> None:
    """Draw classes, and images of a class, that are spread evenly over what there is."""
    from jaxmeta import plots

    rows = [(part, name, items) for part, classes in source.parts.items() for name, items in classes.items()]
    if not rows:
        raise ValueError(source.odd[0] if source.odd else "There are no images, so there is nothing to draw.")
    chosen = {f"{part}: {name}" if part else name: items for part, name, items in spread(rows, num_classes)}
    figure = plots.class_images(
        {name: list(map(source.read, spread(items, num_images))) for name, items in chosen.items()}
    )
    write_whole(out, lambda file: figure.savefig(file, format="png"))


def spread(items: Sequence[T], wanted: int) -> list[T]:
    """Return at most ``wanted`` of the items, at even distances.

    Example:
      >>> spread(range(10), 4), spread("ab", 4)
      ([0, 3, 6, 9], ['a', 'b'])
    """
    last, count = len(items) - 1, min(len(items), wanted)
    return [items[round(i * last / max(count - 1, 1))] for i in range(count)]


def _read(source: Source) -> Found:
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status("reading") as status:
        return read_all(source, lambda text: status.update(Text(f"reading {text}")))


def _print(what: str, about: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("", "classes", "images", "per class: min", "median", "max", "5-way 5-shot, 15 queries")
    for part in about["parts"]:
        per, large = part["images_per_class"], part["classes_large_enough"]
        verdict = "yes" if part["episodes"] else f"no: {large} of {part['classes']} classes have {EPISODE} images"
        numbers = (part["classes"], part["images"], per["min"], per["median"], per["max"])
        table.add_row(part["part"], *(f"{n:,g}" for n in numbers), verdict)
    say = console()
    say.print(table)
    shapes = [f"{s['images']:,} of {' x '.join(map(str, s['shape']))}" for s in about["shapes"][:5]]
    more = len(about["shapes"]) - len(shapes)
    say.print(f"shapes: {', '.join(shapes) or 'none'}{f' and {more} others' if more else ''}", soft_wrap=True)
    say.print(f"pixels: {size(about['bytes'])} as they are")
    if names := about["held_out"]:
        texts = ", ".join(map(shown, names[:MOST])) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")
        say.print(f"`jaxmeta train photographs` holds out {len(names)} classes to test on: {texts}", soft_wrap=True)
    for text in about["shared"]:
        say.print(_shown_whole(text), soft_wrap=True)
    for text in about["notes"]:
        say.print(f"note: {_shown_whole(text)}", soft_wrap=True)
    if about["problems"]:
        say.print(f"{about['problems']:,} problems, which `jaxmeta data check {shown(what)}` names", soft_wrap=True)


def _shown_whole(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:500]
