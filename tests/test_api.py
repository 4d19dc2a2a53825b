"""The public face: everything exported is documented and annotated, imports point one way, importing is light."""

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import jaxmeta as jm

PACKAGE = Path(jm.__file__).parent
MODULES = """experiment settings losses inner implicit update_rules layers tasks datasets algorithms backbones
    ops plots checkpoint recipes attacks parallel nonfinite planning callbacks runs estimator learner
    models pretrained rl testing""".split()


def public():
    for module in [jm, *(import_module(f"jaxmeta.{name}") for name in MODULES)]:
        names = getattr(module, "__all__", None) or [
            n
            for n, v in vars(module).items()
            if inspect.isfunction(v) and v.__module__ == module.__name__ and n[0] != "_"
        ]
        for name in names:
            value = getattr(module, name)
            if callable(value):
                yield pytest.param(value, id=f"{module.__name__}.{name}")


@pytest.mark.parametrize("value", list(public()))
def test_public_names_are_documented_and_annotated(value):
    assert inspect.getdoc(value), "no docstring"
    if inspect.isfunction(value):
        parameters = inspect.signature(value).parameters.values()
        bare = [p.name for p in parameters if p.annotation is p.empty and p.name not in ("key", "x", "y")]
        variadic = [p.name for p in parameters if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        assert set(bare) <= set(variadic), f"without annotation: {bare}"


# Each room, and what it may import from.
ROOMS = {
    "types": set(),
    "storage": set(),
    "validation": {"types"},
    "losses": {"types"},
    "iterates": {"types"},
    "linear": set(),
    "mixed": {"types", "linear"},
    "finite_derivatives": set(),
    "inner": {"types", "iterates", "mixed", "extra_arguments", "finite_derivatives"},
    "implicit": {"types", "inner"},
    "ops": {"types"},
    "models": {"types", "ops", "paths", "passes"},
    "layers": {"types"},
    "update_rules": {"types", "layers"},
    "rows": {"types"},
    "ways": {"types"},
    "paths": {"types"},
    "passes": {"types", "paths"},
    "extra_arguments": set(),
    "embedding": {"types", "validation"},
    "learner": set("types losses inner rows ways paths passes embedding validation".split()),
    "attacks": {"types", "losses", "learner"},
    "algorithms": set(
        "types losses inner implicit rows ways paths passes embedding learner attacks layers update_rules step".split()
    ),
    "backbones": {"types", "ops"},
    "parallel": {"types"},
    "state_changes": {"types"},
    "nonfinite": {"types", "state_changes"},
    "defaults": {"types", "parallel"},
    "step": {"types", "validation", "parallel", "nonfinite", "state_changes", "defaults", "rows", "extra_arguments"},
    "task_programs": {"types", "learner", "losses", "parallel", "iterates", "validation"},
    "evaluation": {"types", "losses", "attacks", "parallel", "step", "iterates", "task_programs", "defaults"},
    "forgetting": {"types", "evaluation"},
    "domains": {"types", "evaluation"},
    "prefetch": {"types", "tasks", "parallel", "step"},
    "planning": {"types", "step", "parallel", "defaults"},
    "callbacks": {"types", "checkpoint", "storage"},
    "progress": {"callbacks"},
    "fit": set("types storage callbacks progress parallel step evaluation prefetch validation defaults".split()),
    "testing": {"types", "losses", "step", "fit", "evaluation"},
    "tasks": {"types", "validation", "rows"},
    "rl": {"types", "inner", "implicit", "step"},
    "datasets": {"types", "storage", "validation", "rows"},
    "pretrained": {"types", "storage", "models", "datasets"},
    "checkpoint": {"types", "storage", "parallel"},
    "plots": {"types", "storage"},
    "estimator": set("types storage learner models losses algorithms checkpoint datasets recipe runs".split()),
    "experiment": {"types", "validation", "defaults"},
    "arguments": {"_suggest", "experiment"},
    "recipe": {"_suggest", "arguments", "experiment"},
    "settings": {"types", "ranges"},
    "ranges": set(),
    "runs": set("_suggest arguments ranges types storage callbacks checkpoint datasets evaluation experiment".split())
    | {"fit", "parallel", "plots", "progress", "recipe", "recipes", "step", "tasks", "defaults", "learner"},
}


def imports_of(path: Path) -> set[str]:
    """The rooms that a file imports, itself left out."""
    own = path.relative_to(PACKAGE).parts
    room, found = own[0].removesuffix(".py"), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = list(own[: len(own) - node.level]) + (node.module or "").split(".")
            names = [base[0]] if base[0] else [alias.name for alias in node.names]
            found |= set(names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxmeta."):
            found.add(node.module.split(".")[1])
    return found - {room, ""}


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room):
    files = [PACKAGE / f"{room}.py"] if (PACKAGE / f"{room}.py").exists() else sorted((PACKAGE / room).glob("*.py"))
    for path in files:
        assert imports_of(path) <= ROOMS[room], f"{path.name} imports {imports_of(path) - ROOMS[room]}"


def test_jax_inside_is_used_where_primitives_are_defined_only():
    users = {
        p.name for p in PACKAGE.rglob("*.py") if "jax._src" in p.read_text() or "jax.interpreters" in p.read_text()
    }
    assert users <= {"_task_conv.py", "linear.py"}


def test_importing_is_light():
    heavy = "gcsfs tokenizers safetensors flax grain tensorflow tensorflow_datasets orbax matplotlib".split()
    heavy += "sklearn PIL rich tyro scipy.stats".split()
    code = f"import sys, jaxmeta; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_new_algorithm_is_one_short_file():
    assert len((PACKAGE / "algorithms" / "_template.py").read_text().splitlines()) < 80
