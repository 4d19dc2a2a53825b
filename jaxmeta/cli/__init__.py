"""The command line: ``jaxmeta train | evaluate | adapt | compare | plan | data | list ...``, thin over the library.

Exit codes: 0 done, 2 a mistake in the call or its files, 3 training diverged, 4 another process of the run
was lost, 130 stopped by Ctrl-C or SIGTERM, 141 the reader of the output has gone.
"""

import errno
import os
import select
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from jaxmeta._suggest import near

from ._call import Call

UNREAD = 141  # as of a program that SIGPIPE ends
COMMANDS = ("train", "evaluate", "adapt", "compare", "plan", "data", "reproduce", "list", "completion")

_HELP = """\
jaxmeta: learn to learn, from the command line.

  jaxmeta train [RECIPE] [flags]    meta-train, measure on held-out classes, write a run folder
  jaxmeta train --resume RUN        continue a run that was cut short
  jaxmeta train --again RUN [flags] train the configuration of a run again, with changes
  jaxmeta evaluate RUN [flags]      measure a run folder again: other tasks, other inner steps
  jaxmeta adapt RUN --support DIR --predict DIR    from two folders of images to predictions
  jaxmeta compare RUN RUN ...       runs side by side: their differences, results and learning curves
  jaxmeta reproduce [TABLE] [flags] train the rows of a paper's table; print ours beside the paper's
  jaxmeta plan [RECIPE] [flags]     memory, arithmetic and communication of a step, on TPUs that this machine lacks
  jaxmeta data fetch | check | describe | preview WHAT    images: your own folders and zips, or a data set's
  jaxmeta list [WHAT]               recipes, algorithms, datasets, tasks, backbones
  jaxmeta completion bash|zsh|fish  a script that completes all of this in a shell

Start with `jaxmeta train`: minutes on a laptop, no data needed. `jaxmeta train RECIPE --help` explains the flags
of a recipe, `jaxmeta list recipes` names them all; `jaxmeta --version`.

Ctrl-C or SIGTERM ends training after the steps in progress and keeps the state; a second Ctrl-C stops at once.
Exit codes: 0 done, 2 a mistake in the call, 3 diverged, 4 another process of the run was lost, 130 stopped by a signal,
141 the reader of the output has gone.
JAXMETA_CACHE    folder for prepared data and compiled programs (~/.cache/jaxmeta)
JAXMETA_DEBUG=1  show the traceback of an error
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
      argv: the words after ``jaxmeta``; those of the process by default.

    Example:
      >>> main(["--version"])
      jaxmeta 0.1.0
      0
    """
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _start(args)
        sys.stdout.flush()
        return code
    except SystemExit as finished:  # tyro, after --help or a flag it does not know; rich, where nobody reads
        code = finished.code if isinstance(finished.code, int) else int(finished.code is not None)
        return UNREAD if code and _nobody_reads() else code
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, ImportError) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return UNREAD
        if os.environ.get("JAXMETA_DEBUG"):
            raise
        with suppress(BrokenPipeError):
            print(f"jaxmeta: error: {_in_words(error, args)}", file=sys.stderr)
        return 2


def _nobody_reads() -> bool:
    """Return whether the output is a closed pipe, as after `| head`; then discard the rest of the output."""
    with suppress(OSError, ValueError, AttributeError):  # not a file; or Windows, which has no poll
        watch, descriptor = select.poll(), sys.stdout.fileno()
        watch.register(descriptor, 0)
        if any(event & select.POLLERR for _, event in watch.poll(0)):
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), descriptor)  # Python flushes once more as it ends
            return True
    return False


def _in_words(error: Exception, args: list[str]) -> str:
    """Return one sentence or two that name flags and files."""
    if isinstance(error, OSError) and error.filename is not None:
        advice = {
            errno.EACCES: "you may not read or write there. Work in a folder of your own, or name one.",
            errno.ENOSPC: "there is no space left on the device. Make room there, and continue.",
            errno.EDQUOT: "your quota of space is used up. Make room there, and continue.",
        }
        return f"{str(error.filename)!r}: {advice.get(error.errno or 0, error.strerror)}"
    message = " ".join(str(error).split())
    if "`" not in message:
        return message
    from ._flags import in_flags

    return in_flags(message, _flags_of(args))


def _flags_of(args: list[str]) -> Iterable[str]:
    """Return the flags of the command that was called."""
    from ._completion import table

    known, words = table(), tuple(args[:2])
    return known.get(words) or known.get(words[:1]) or ()


def parse(args: list[str]) -> Call:
    """Read the words of a command, without running it.

    Raises:
      ValueError: if there is no such command, recipe or action.
      SystemExit: after ``--help``, or for a flag that does not exist.

    Example:
      >>> parse(["list", "tasks"]).run()
      tasks
      ...
    """
    if not args or args[0] in ("-h", "--help", "help"):
        return Call(_print, (_HELP,), {})
    if args[0] == "--version":
        from jaxmeta import __version__

        return Call(_print, (f"jaxmeta {__version__}\n",), {})
    if args[0] not in COMMANDS:
        raise ValueError(f"there is no command {args[0]!r}; {near(args[0], COMMANDS)} See `jaxmeta --help`.")
    return import_module(f"._{args[0]}", __package__).command(args[1:])  # no other command's module is loaded


def _print(text: str) -> int:
    print(text, end="")
    return 0


def _start(args: list[str]) -> int:
    if args and args[0] in COMMANDS:
        _keep_compiled_programs()
        _make_cores_devices()
    return parse(args).run()


def _make_cores_devices() -> None:
    """Make every core of a CPU a device of its own, unless the user has chosen a number."""
    import jax

    if jax.config.values["jax_num_cpu_devices"] < 1:
        jax.config.update(
            "jax_num_cpu_devices", len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        )


def _keep_compiled_programs() -> None:
    """Keep compiled programs for later commands, unless the user has chosen a cache."""
    import jax

    from jaxmeta.datasets._files import cache_dir

    folder = cache_dir() / "xla"
    if jax.config.values["jax_compilation_cache_dir"] is None and _can_write(folder):
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _can_write(folder: Path) -> bool:
    """Return whether a folder can be written; without a home folder, programs are compiled anew."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
