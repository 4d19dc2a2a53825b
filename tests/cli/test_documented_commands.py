"""Every command of the README and the docs can be read: its flags exist and take the values that are shown."""

import json
import re
import shlex
from pathlib import Path

import pytest

from jaxmeta.cli import COMMANDS, parse
from jaxmeta.runs import Config, write_config

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")])

# What the pages of the first release told people to type; a later version must still take it.
COMMANDS_TO_KEEP = """\
train
train --help
train characters --algorithm r2d2
train curves --algorithm neural_process
train quadratics
train --resume RUN
train --again RUN --seed 1
train --log tensorboard
train photographs --data-dir photos.zip
train photographs --data-dir photos.zip --size 32 --num-steps 500 --test-tasks 100
train photographs --data-dir FOLDER --algorithm protonet --backbone resnet12 --features 16
train omniglot_maml_5w1s --data-dir DIR --minutes 20
train omniglot_protonet_5w1s --data-dir DIR --minutes 20
train omniglot_maml_mlp_5w1s --inner-lr 2.0 --meta-lr 0.001 --no-adapt-norm
train sinusoid_maml
train omniglot_maml_5w1s --data-dir DIR --tasks-per-step 256
train omniglot_maml_5w1s --data-dir DIR --mesh task=2
train omniglot_maml_5w1s --data-dir DIR --distributed --out RUN
train omniglot_maml_5w1s --data-dir DIR --out RUN --coordinator HOST:1234 --num-processes 2 --process-id 0
train omniglot_maml_5w1s --chunk 2 --remat 1 --dtype bfloat16 --fsdp --accumulate 2 --clip-norm 1 --guard task
train omniglot_maml_5w1s --profile 100:105 --checkpoint-every 500 --fsdp-over 2
train characters --algorithm r2d2 --num-steps 2000 --seed 1 --out runs/r2d2
train --resume RUN --minutes 5 --data-dir DIR --mesh task=1 --log wandb
train --again RUN --num-steps 3 --out runs/other
evaluate RUN --num-tasks 1000
evaluate RUN --num-tasks 10000 --split val --num-inner-steps 3 --data-dir DIR --json
adapt RUN --support few --predict more
adapt RUN --support few --predict more --save classifier --export classifier.jax
adapt classifier --predict more
adapt RUN --support few --predict more --out predictions.json --invert --num-inner-steps 5 --batch-size 8 --json
compare RUN RUN --out compare.png
compare RUN RUN --json
plan omniglot_maml_5w1s --data-dir DIR --topology v5e:4x4 --tasks-per-device 32
plan --topology cpu:2 --fsdp --chunk 1 --json
data check photos.zip
data describe photos.zip --json
data preview photos.zip --out grid.png --num-classes 3 --num-images 4
data fetch omniglot --data-dir DIR
reproduce
reproduce --list
reproduce omniglot_protonet --data-dir DIR
reproduce omniglot_protonet --data-dir DIR --out runs/protonet --seeds 3 --minutes 5 --num-steps 10 --test-tasks 8
reproduce omniglot --only "omniglot_maml_5w*" --data-dir DIR --checkpoint-every 10000 --download
reproduce omniglot --show --out runs/omniglot --json
list
list recipes --json
completion bash
completion zsh
completion fish
""".splitlines()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with a run in ``RUN``."""
    monkeypatch.chdir(tmp_path)
    for name in ("RUN", "runs/r2d2"):
        (tmp_path / name).mkdir(parents=True)
        write_config(tmp_path / name, Config("sinusoid_maml", {"hidden": 8}, 3))


def read(command: str) -> None:
    words = shlex.split(command, comments=True)
    if "--help" in words:
        with pytest.raises(SystemExit) as ended:
            parse(words)
        assert ended.value.code == 0
    else:
        assert callable(parse(words).run)


def test_commands_that_are_kept(here, capsys):
    for command in COMMANDS_TO_KEEP:
        try:
            read(command)
        except (SystemExit, ValueError) as error:
            raise AssertionError(f"jaxmeta {command}: {error}; {capsys.readouterr().err[-500:]}") from error
    assert {command.split()[0] for command in COMMANDS_TO_KEEP} == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES)
def test_commands_on_a_page(page, here, capsys):
    """Reads what is in code blocks; ``gs://`` needs a package that not every machine has."""
    names = "|".join(COMMANDS)
    lines = re.findall(rf"^ {{4,}}(?:srun .*?)?jaxmeta ((?:{names})\b.*)$", (ROOT / page).read_text(), re.M)
    for line in lines:
        if "gs://" in line or "..." in line or "$" in line or "my_" in line:
            continue
        line = re.sub(r"\bruns/[\w-]+-1\b|\bruns/maml\b", "RUN", line.split(" | ")[0].rstrip(" &"))
        try:
            read(line)
        except (SystemExit, ValueError) as error:
            raise AssertionError(f"{page}: jaxmeta {line}: {error}; {capsys.readouterr().err[-500:]}") from error


def test_again_takes_the_recipes_flags_and_has_the_runs_values(here):
    call = parse(["train", "--again", "RUN", "--inner-lr", "0.5"])
    _, flags, arguments = call.positional
    assert (arguments["hidden"], arguments["inner_lr"], flags.seed) == (8, 0.5, 3)
    assert json.loads(Path("RUN/config.json").read_text())["arguments"] == {"hidden": 8}
