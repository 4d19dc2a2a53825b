"""``jaxmeta completion``: a script that completes commands, recipes and flags in a shell."""

import dataclasses
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

from ._flags import Call, parse

Shell = Literal["bash", "zsh", "fish"]
Flags = dict[str, tuple[str, ...]]  # each flag, and the values it takes where these are few

BASH = """\
# jaxmeta completion bash: put `source <(jaxmeta completion bash)` into ~/.bashrc
_jaxmeta() {
  local IFS=$' \\t\\n' word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" words=""
  case "$COMP_CWORD ${COMP_WORDS[1]}" in
    "1 "*) words="@COMMANDS@" ;;
@FIRST@
  esac
  [[ "$word" == -* ]] && case "${COMP_WORDS[1]} ${COMP_WORDS[2]} " in
@FLAGS@
  esac
  case "${COMP_WORDS[1]} ${COMP_WORDS[2]}  $before" in
@VALUES@
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _jaxmeta jaxmeta
"""
ZSH = """\
# jaxmeta completion zsh: put `source <(jaxmeta completion zsh)` into ~/.zshrc
autoload -Uz compinit bashcompinit && compinit && bashcompinit
"""
FISH = """\
# jaxmeta completion fish: jaxmeta completion fish > ~/.config/fish/completions/jaxmeta.fish
function __jaxmeta_at
  set -l words (commandline -opc)
  test (count $words) -ge 2; and test $words[2] = $argv[1]; or return 1
  test (count $argv) -eq 1; or begin; test (count $words) -ge 3; and test $words[3] = $argv[2]; end
end
"""


def command(args: list[str]) -> Call:
    """Read the shell's name."""
    return parse(_completion, "jaxmeta completion", args)


def _completion(shell: Annotated[Shell, tyro.conf.Positional]) -> int:
    """Print a script that completes commands, recipes, flags and their values; source it where the shell starts.

    Args:
      shell: bash, zsh or fish.
    """
    print({"bash": bash, "zsh": lambda: ZSH + bash(), "fish": fish}[shell](), end="")
    return 0


def table() -> dict[tuple[str, ...], Flags]:
    """Return the flags of every command, ``("evaluate",)``, and recipe, ``("train", "glyphs_maml")``.

    Without a recipe they are those of the default one. ``""`` is the place of a word that is no flag.

    Example:
      >>> table()["train", "sinusoid_maml"]["--kernel-init"]
      ('he', 'xavier', 'truncated_normal')
    """
    from jaxmeta.recipes import RECIPES, TABLES

    from . import _adapt, _compare, _data, _evaluate, _list, _plan, _reproduce, _train
    from ._flags import DEFAULT

    found: dict[tuple[str, ...], Flags] = {
        ("evaluate",): flags(_evaluate._evaluate),
        ("adapt",): flags(_adapt._adapt),
        ("compare",): flags(_compare._compare),
        ("reproduce",): flags(_reproduce._reproduce) | {"": tuple(TABLES)},
        ("data",): {"": tuple(_data.ACTIONS)},
        **{("data", name): flags(action) | {"": ()} for name, action in _data.ACTIONS.items()},
        ("list",): flags(_list._list),
        ("completion",): flags(_completion),
    }
    for command, own in (("train", _train.Flags), ("plan", _plan.Flags)):
        for name, recipe in RECIPES.items():
            found[command, name] = flags(own) | flags(recipe.function)
        found[(command,)] = found[command, DEFAULT] | {"": tuple(RECIPES)}
    found["train",] |= flags(_train._resume) | {"--again": ()}
    return found


def bash() -> str:
    """Return the script for bash."""
    from . import COMMANDS

    first, flags, values = [], [], []
    for path, known in sorted(table().items(), key=lambda item: -len(item[0])):  # a recipe's before all recipes'
        where = " ".join(path) + " "
        flags.append(f'    "{where}"*) words="{" ".join(filter(None, known))}" ;;')
        values += [f'    "{where}"*" {flag}") words="{" ".join(of)}" ;;' for flag, of in known.items() if flag and of]
        first += [f'    "2 {path[0]}") words="{" ".join(known[""])}" ;;'] if known.get("") else []
    filled = {"@COMMANDS@": [" ".join(COMMANDS)], "@FIRST@": first, "@FLAGS@": flags, "@VALUES@": values}
    script = BASH
    for name, lines in filled.items():
        script = script.replace(name, "\n".join(lines))
    return script


def fish() -> str:
    """Return the script for fish."""
    from . import COMMANDS

    lines = [f"complete -c jaxmeta -n 'test (count (commandline -opc)) -eq 1' -f -a '{' '.join(COMMANDS)}'"]
    for path, known in table().items():
        at = f"complete -c jaxmeta -n '__jaxmeta_at {' '.join(path)}'"
        if known.get(""):
            lines.append(f"{at} -f -a '{' '.join(known[''])}'")
        for flag, values in known.items():
            takes = f" -x -a '{' '.join(values)}'" if values else ""
            lines += [f"{at} -l {flag[2:]}{takes}"] if flag else []
    return FISH + "\n".join(lines) + "\n"


def flags(function: Callable[..., Any]) -> Flags:
    """Return the flags that tyro makes of the arguments of a function, or of the fields of a dataclass."""
    hints = get_type_hints(function, include_extras=True)
    found: Flags = {"--help": ()}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not parameter.VAR_KEYWORD:
            found |= dict(_flags(parameter.name, hints[parameter.name]))
    return found


def _flags(name: str, hint: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    marks, kind = (get_args(hint)[1:], get_args(hint)[0]) if get_origin(hint) is Annotated else ((), hint)
    if dataclasses.is_dataclass(kind):
        for field in dataclasses.fields(kind):
            yield from _flags(field.name, get_type_hints(kind)[field.name])
    elif tyro.conf.Positional in marks:
        yield "", _values(kind)
    else:
        given = [mark.name for mark in marks if getattr(mark, "name", None)]
        flag = (given or [name])[0].replace("_", "-")
        yield f"--{flag}", _values(kind)
        if kind is bool and tyro.conf.FlagCreatePairsOff not in marks:
            yield f"--no-{flag}", ()


def _values(hint: Any) -> tuple[str, ...]:
    """Return the values of a `Literal`, wherever in the type it is."""
    if get_origin(hint) is Literal:
        return tuple(map(str, get_args(hint)))
    inside = get_args(hint) if get_origin(hint) in (Union, types.UnionType, tuple) else ()
    return tuple(value for part in inside for value in _values(part))
