"""Every file of a run folder, damaged in every way: a run is used as it is, refused in a sentence, or completed."""

import os
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
from runs.tiny import experiment

from jaxmeta import runs

DAMAGES = ["cut", "empty", "flipped", "link", "pipe", "list", "null", "nested"]
SECRET = b'{"secret": "of another folder"}'


def damage(path: Path, kind: str, outside: Path) -> None:
    """Damage a file in one way; ``outside`` is what a link refers to."""
    data = path.read_bytes()
    path.unlink()
    if kind == "link":
        path.symlink_to(outside)
    elif kind == "pipe":
        os.mkfifo(path)  # whoever opens it waits for ever
    else:
        flipped = bytes(
            [*data[: len(data) // 2], *(b ^ 0x55 for b in data[len(data) // 2 :][:8]), *data[len(data) // 2 + 8 :]]
        )
        contents = {"cut": data[: len(data) // 2], "empty": b"", "flipped": flipped, "list": b"[]", "null": b"null"}
        path.write_bytes(contents[kind] if kind != "nested" else b"[" * 1_000_000)


@contextmanager
def within(seconds: int):
    """Fail where something waits for ever."""

    def late(*_):
        raise TimeoutError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module", params=["finished", "interrupted"])
def run(request, tmp_path_factory):
    """A run of 6 steps with a checkpoint every second one, whole or stopped at step 4."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    stopped = {} if request.param == "finished" else {"minutes": 0.0}
    runs.train(experiment(), folder, checkpoint_every=2, **stopped)
    return folder


def tried(folder: Path) -> list[str]:
    """Do what a user does with a run, and return what was said against it."""
    said = []
    calls = [
        lambda: runs.resume(folder, experiment()),
        lambda: runs.load(folder, learner=experiment().learner),
    ]
    for call in calls:
        try:
            with within(60):
                call()
        except (ValueError, OSError, runs.InUse) as error:
            said.append(str(error))
    return said


def files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def check(run: Path, name: Path, kind: str, tmp_path: Path) -> None:
    folder, outside = tmp_path / "run", tmp_path / "outside.json"
    shutil.copytree(run, folder)
    outside.write_bytes(SECRET)
    damage(folder / name, kind, outside)
    said = tried(folder)
    assert all("\n" not in text.strip() and "Traceback" not in text for text in said), (name, kind, said)
    assert outside.read_bytes() == SECRET and sorted(tmp_path.iterdir()) == sorted([folder, outside]), (name, kind)


@pytest.mark.parametrize("name, kind", [("config.json", "nested"), ("metrics.jsonl", "pipe")])
def test_what_is_damaged_is_said_in_a_sentence(run, name, kind, tmp_path):
    check(run, Path(name), kind, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGES)
def test_every_file_in_every_way(run, kind, tmp_path):
    for number, name in enumerate(files(run)):
        (tmp_path / str(number)).mkdir()
        check(run, name, kind, tmp_path / str(number))
