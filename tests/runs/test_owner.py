"""A run folder has one owner, whose lock outlives no process."""

import json
import os
import signal
import subprocess
import sys

import pytest

from jaxmeta.runs import InUse, _owner
from jaxmeta.runs._owner import OWNER, owned

HOLD = """
import sys, time
from pathlib import Path
from jaxmeta.runs._owner import owned
with owned(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_owner_is_refused_and_told_who_holds_it(tmp_path):
    with owned(tmp_path):
        with pytest.raises(InUse, match=rf"in use by process {os.getpid()} on '.+' \(since 20"):
            with owned(tmp_path):
                pass
        assert json.loads((tmp_path / OWNER).read_text())["process"] == os.getpid()
    assert list(tmp_path.iterdir()) == []
    with owned(tmp_path):  # and free again
        pass


def test_the_lock_of_a_killed_process_is_taken_over_and_its_leftovers_removed(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InUse, match=f"process {holder.pid} "):
        with owned(tmp_path):
            pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert (tmp_path / OWNER).exists()
    (tmp_path / ".results.json.0123.tmp").write_text("half")
    (tmp_path / "checkpoints" / "5.orbax-checkpoint-tmp-1").mkdir(parents=True)
    (tmp_path / "notes.tmp").write_text("the user's own")
    with owned(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [OWNER, "checkpoints", "notes.tmp"]
        assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / OWNER).symlink_to(tmp_path / "victim")
    with pytest.raises(OSError):
        with owned(tmp_path / "run"):
            pass
    assert not (tmp_path / "victim").exists()


def test_in_an_object_store_the_newest_owner_wins(tmp_path, monkeypatch):
    """Which has no locks: the older one notices before its next checkpoint."""
    monkeypatch.setattr(_owner, "is_remote", lambda path: True)
    with owned(tmp_path) as older:
        older.check()
        with owned(tmp_path) as newer:
            newer.check()
            with pytest.raises(InUse, match="was taken over by process"):
                older.check()
    assert not (tmp_path / OWNER).exists()
