"""Read the communication of a compiled program from its text."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|ragged-all-to-all|collective-permute|collective-broadcast"
# `%name = type operation(`. Of an operation in two halves, `-start` has the groups and `-done` the result's type.
OPERATION = re.compile(rf" = (?P<type>.+?) (?P<kind>{KINDS})(-done)?\(")
START = re.compile(rf"(?P<name>%[\w.-]+) = .+? (?:{KINDS})-start\(")
STARTED = re.compile(r"-done\(.*?(?P<name>%[\w.-]+)")
ARRAY = re.compile(r"\b(?P<dtype>pred|[a-z]+\d+\w*)\[(?P<shape>[\d,]*)\]")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?(?P<name>[\w.-]+) \(.*\{$")
CALLED = re.compile(r"(?P<role>\w+)=\{?(?P<names>%[\w.-]+(?:, %[\w.-]+)*)")


class Collective(NamedTuple):
    """Operations of one kind in a program.

    Attributes:
      kind: ``"all-reduce"``, ``"all-gather"``, ``"reduce-scatter"`` ...
      count: operations of this kind in the program.
      bytes: size of the whole arrays that are reduced or gathered.
      looped: whether they are inside a loop; they count once, for any number of turns.
      among: devices in each group that communicates; 0 if the program does not say, which means all.
    """

    kind: str
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
    bytes: int
    looped: bool = False
    among: int = 0


def collectives(program: str) -> tuple[Collective, ...]:
    """Return the collectives of a program, grouped by kind and size of group.

    Args:
      program: the text of a compiled program: HLO.

    Example:
      >>> collectives("%sum = (f32[3,3]{1,0}, bf16[]) all-reduce(%a, %b), channel_id=1")
      (Collective(kind='all-reduce', count=1, bytes=38, looped=False, among=0),)
    """
    found = list(_operations(program))
    counts, sizes = Counter(key for key, _ in found), Counter()
    for key, size in found:
        sizes[key] += size
    return tuple(Collective(key[0], count, sizes[key], *key[1:]) for key, count in counts.items())


def _operations(program: str) -> Iterator[tuple[tuple[str, bool, int], int]]:
    """Yield ``(kind, looped, among), bytes`` of each collective; groups of one device do not communicate."""
    looped = _in_loops(program)
    starts = {name for name, line in _lines(program) if "AsyncCollectiveStart" in line}
    halves = {(name, m["name"]): line for name, line in _lines(program) if (m := START.search(line))}
    for name, line in _lines(program):
        if "async_collective_fusion_config" in line and name not in starts:
            continue  # a TPU continues it while it computes: the same operation, repeated between others
        if match := OPERATION.search(line):
            kind, size, among = match["kind"], _bytes(match["type"]), _group(_where_started(halves, name, line))
            if kind == "reduce-scatter":  # its result is one device's part
                size *= max(among, 1)
            if among != 1:
                yield (kind, name in looped, among), size


def _where_started(halves: dict[tuple[str, str], str], name: str, line: str) -> str:
    """Return the line of the ``-start`` of a ``-done`` in the same computation, or else the line itself."""
    match = STARTED.search(line)
    return halves.get((name, match["name"]), line) if match else line


def _lines(program: str) -> Iterator[tuple[str, str]]:
    """Yield each line with the name of its computation."""
    name = ""
    for line in program.splitlines():
        if match := COMPUTATION.match(line):
            name = match["name"]
        else:
            yield name, line


def _in_loops(program: str) -> set[str]:
    """Return the computations that run inside loops: bodies, and all that these call."""
    calls: dict[str, set[str]] = {}
    bodies: set[str] = set()
    for name, line in _lines(program):
        for match in CALLED.finditer(line):
            called = set(re.findall(r"%([\w.-]+)", match["names"]))
            calls.setdefault(name, set()).update(called)
            bodies |= called if match["role"] == "body" else set()
    return _reachable(bodies, calls)


def _reachable(names: Iterable[str], calls: dict[str, set[str]]) -> set[str]:
    seen, ahead = set(), list(names)
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead += calls.get(name, ())
    return seen


def _bytes(kind: str) -> int:
    return sum(math.prod(_sizes(m["shape"])) * _bits(m["dtype"]) // 8 for m in ARRAY.finditer(kind))


def _bits(dtype: str) -> int:
    return 8 if dtype == "pred" else int(re.findall(r"\d+", dtype)[0])


def _sizes(text: str) -> list[int]:
    return [int(n) for n in text.split(",") if n]


def _group(line: str) -> int:
    """Return a group's devices: two for ``{{0,1},{2,3}}``, ``[2,2]<=[4]``, ``mesh['a'=2,'b'=2] {'b'}``; or 0."""
    if match := re.search(r"replica_groups=mesh\[(.*?)\].*?\{(.*?)\}", line):  # since jax 0.11
        sizes = dict(re.findall(r"'([^']*)'=(\d+)", match[1]))
        axes = re.findall(r"'([^']*)'(?::\(\d+\)(\d+))?", match[2])  # a whole axis, or a factor of it: 'a':(2)4
        return math.prod(int(part or sizes[name]) for name, part in axes)
    match = re.search(r"replica_groups=(?:\{\{([\d,{}]*)\}\}|\[\d+,(\d+)\])", line)
    if match is None:
        return 0
    return int(match[2]) if match[2] else max(len(_sizes(group)) for group in match[1].split("},{"))
