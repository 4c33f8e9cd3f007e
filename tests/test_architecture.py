import ast
import sys
from collections.abc import Iterator
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


def test_there_are_files_to_check() -> None:
    assert REPOSITORY / "monai_ext" / "keys.py" in FILES
