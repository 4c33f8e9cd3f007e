import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

LEAF = {
    "torch",
    "monai",
    "numpy",
    "scipy",
    "skimage",
    "monai_ext.errors",
    "monai_ext.failures",
    "monai_ext.keys",
    "monai_ext.logs",
    "monai_ext.cams",
}
ALLOWED = {
    "losses": LEAF,
    "networks": LEAF,
    "transforms": LEAF,
    "inferers": LEAF,
    "images": LEAF | {"SimpleITK", "nibabel", "pydicom"},
    "datalist": LEAF | {"monai_ext.images", "nibabel", "rich"},
    "data": LEAF | {"monai_ext.datalist", "monai_ext.images", "monai_ext.transforms", "tqdm"},
    "preparation": LEAF
    | {
        "monai_ext.datalist",
        "monai_ext.failures",
        "monai_ext.images",
        "monai_ext.transforms",
        "rich",
        "typer",
    },
    "phantoms": LEAF | {"monai_ext.datalist", "nibabel"},
    "handlers": {
        "ignite",
        "monai",
        "torch",
        "numpy",
        "scipy",
        "matplotlib",
        "tqdm",
        "monai_ext.keys",
        "monai_ext.cams",
        "monai_ext.drawing",
        "monai_ext.errors",
        "monai_ext.images",
        "monai_ext.bundle.run_lock",
        "monai_ext.bundle.saved_files",
    },
    "steps": LEAF | {"monai_ext.losses"},
}
"""What a folder may import besides the standard library and itself. A folder not named here may import all
but `FORBIDDEN`."""

FORBIDDEN = {"bundles", "datasets", "tests", "benchmarks"}
"""What nothing in the package may import."""


def imported_names(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Yields the line and the absolute dotted name of every import in a file, at any depth."""
    package = path.relative_to(root).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *filter(None, [node.module])))
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def within(name: str, modules: set[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def violations(path: Path, root: Path) -> list[str]:
    """Names file, line and import of everything in `path` that its folder may not import."""
    folder = path.relative_to(root / "monai_ext").parts[0]
    forbidden = FORBIDDEN if folder == "label" else FORBIDDEN | {"monailabel"}
    allowed = ALLOWED.get(folder)
    found = []
    for line, name in imported_names(path, root):
        legal = not within(name, forbidden)
        if allowed is not None:
            legal &= within(name, allowed | {f"monai_ext.{folder}"} | sys.stdlib_module_names)
        if not legal:
            found.append(f"{path.relative_to(root)}:{line} imports {name}, which {folder} may not")
    return found


FILES = sorted((REPOSITORY / "monai_ext").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_file_imports_only_what_its_folder_may(path: Path) -> None:
    found = violations(path, REPOSITORY)
    assert not found, "\n".join(
        [*found, "Move the code, or change ALLOWED and CONTRIBUTING.md with a reason."]
    )


def plant(root: Path, file: str, code: str) -> list[str]:
    path = root / "monai_ext" / file
    path.parent.mkdir(parents=True)
    path.write_text(code + "\n", encoding="utf-8")
    return violations(path, root)


@pytest.mark.parametrize(
    ("file", "code", "culprit"),
    [
        ("losses/a.py", "from ignite.engine import Engine", "ignite.engine.Engine"),
        ("losses/a.py", "import monai_ext", "monai_ext"),
        ("losses/a.py", "from monai_ext.keys_of_mine import X", "monai_ext.keys_of_mine.X"),
        ("losses/deep/a.py", "from ...networks import dual_branch", "monai_ext.networks.dual_branch"),
        ("networks/a.py", "from monai_ext import losses", "monai_ext.losses"),
        ("transforms/a.py", "def f():\n    import nibabel", "nibabel"),
        ("inferers/a.py", "from ..transforms.cam import X", "monai_ext.transforms.cam.X"),
        ("data/a.py", "from monai_ext.losses import *", "monai_ext.losses.*"),
        ("handlers/a.py", "import monai_ext.data.cache as c", "monai_ext.data.cache"),
        ("steps/a.py", "from monai_ext.networks import X", "monai_ext.networks.X"),
        ("report.py", "import datasets.acdc.prepare", "datasets.acdc.prepare"),
        ("__main__.py", "import torch, monailabel", "monailabel"),
        ("label/app.py", "from bundles import x", "bundles.x"),
    ],
)
def test_a_planted_violation_is_named(tmp_path: Path, file: str, code: str, culprit: str) -> None:
    (found,) = plant(tmp_path, file, code)
    assert found.startswith(f"monai_ext/{file}:") and f"imports {culprit}, which" in found


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("losses/a.py", "import math, torch.nn\nfrom monai.losses import DiceLoss\nfrom . import b"),
        ("losses/__init__.py", "from .a import A\nfrom ..keys import UNLABELED"),
        ("data/a.py", "from monai_ext import images, keys, transforms\nimport tqdm"),
        ("handlers/a.py", "from ignite.engine import Engine\nfrom monai_ext import drawing"),
        ("steps/a.py", "from monai_ext.losses.divergence import X"),
        ("label/app.py", "import monailabel\nfrom monai_ext.losses import X"),
        ("__main__.py", "import typer\nfrom monai_ext import data, handlers, label"),
    ],
)
def test_a_legal_import_is_left_alone(tmp_path: Path, file: str, code: str) -> None:
    assert plant(tmp_path, file, code) == []


def imports_between_parts(root: Path) -> dict[str, set[str]]:
    """For every folder and every file at the top of the package the others that it imports."""
    found: dict[str, set[str]] = {}
    for path in sorted((root / "monai_ext").rglob("*.py")):
        part = path.relative_to(root / "monai_ext").parts[0].removesuffix(".py")
        names = (name.split(".") for _, name in imported_names(path, root))
        others = {words[1] for words in names if words[0] == "monai_ext" and len(words) > 1}
        found.setdefault(part, set()).update(others - {part})
    return found


def circle(root: Path) -> list[str]:
    """Parts of the package of which each imports the next and the last is the first; [] if there are none."""
    try:
        TopologicalSorter(imports_between_parts(root)).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


def test_no_folders_import_each_other_in_a_circle() -> None:
    found = circle(REPOSITORY)
    assert not found, f"{' -> '.join(found)}: move what two of them need below both."


def test_a_planted_circle_is_named(tmp_path: Path) -> None:
    plant(tmp_path, "images/a.py", "from monai_ext.datalist.b import B\nfrom . import c")
    plant(tmp_path, "datalist/b.py", "def f():\n    from ..data import d")
    assert circle(tmp_path) == []
    plant(tmp_path, "data/d.py", "from monai_ext import images, keys")
    found = circle(tmp_path)
    assert found[0] == found[-1] and sorted(found[1:]) == ["data", "datalist", "images"]
    around = list(pairwise(found))
    assert ("images", "datalist") in around and ("data", "images") in around


OTHER_TESTS = {
    "bundles": "whole bundles, by their commands",
    "data_files": "files that tests read",
    "prepare_acdc": "the script of a data set, as test_prepare_*.py",
}
"""Folders of tests that mirror no folder of the package, and what is in them."""


def test_every_folder_of_tests_mirrors_one_of_the_package() -> None:
    parts = {path.parent.name for path in (REPOSITORY / "monai_ext").glob("*/__init__.py")}
    folders = [path for path in (REPOSITORY / "tests").iterdir() if path.name != "__pycache__"]
    tests = {path.name for path in folders if any(path.glob("*.*"))}
    assert tests - parts == OTHER_TESTS.keys()


def test_there_are_files_to_check() -> None:
    assert REPOSITORY / "monai_ext" / "keys.py" in FILES
