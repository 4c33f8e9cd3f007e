"""What people read: cards that begin with what people want, links that lead somewhere, a true layout."""

import re
from pathlib import Path

import pytest

from tests.test_architecture import ALLOWED, LEAF

REPOSITORY = Path(__file__).resolve().parents[1]
CARDS = sorted(REPOSITORY.glob("bundles/*/docs/README.md"))
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bundles/README.md")),
    *CARDS,
    *sorted(REPOSITORY.glob("docs/**/*.md")),
    *sorted(REPOSITORY.glob("datasets/*/README.md")),
]
MADE = {REPOSITORY / "docs" / "results.md"}
"""Pages that a program writes."""


def short(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def prose(path: Path) -> list[str]:
    """Lines of a page outside of code and tables."""
    without_code = re.sub(
        r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    return [line for line in without_code.splitlines() if not line.startswith("|")]


def anchors(path: Path) -> set[str]:
    """What ``#...`` may name in a page."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("card", CARDS, ids=short)
def test_a_card_begins_with_segmenting_then_training_then_results(card):
    lines = card.read_text(encoding="utf-8").splitlines()
    sections = [line for line in lines if line.startswith("## ")]
    assert sections[:3] == ["## Segment an image", "## Train on your data", "## Results"]
    assert len(lines) <= 150
    (first, *_) = re.findall(r"^```bash\n(.*?)^```", "\n".join(lines), flags=re.MULTILINE | re.DOTALL)
    assert len(first.splitlines()) == 3


@pytest.mark.parametrize("card", CARDS, ids=short)
def test_a_card_works_without_the_repository(card):
    bundle = card.parents[1]
    links = re.findall(r"\]\(([^)#]+)", card.read_text(encoding="utf-8"))
    inside = [link for link in links if "://" not in link]
    assert all((card.parent / link).resolve().is_relative_to(bundle) for link in inside)


@pytest.mark.parametrize("card", CARDS, ids=short)
def test_pages_that_a_card_names_are_there(card):
    named = re.findall(r"`((?:docs|datasets)/[\w/]+\.md)`", card.read_text(encoding="utf-8"))
    assert named and all((REPOSITORY / name).is_file() for name in named)


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", [page for page in PAGES if page not in MADE], ids=short)
def test_lines_are_short_enough_to_read(page):
    assert [line for line in prose(page) if len(line) > 120] == []


def test_the_layout_in_the_guide_is_the_one_that_is_tested():
    rows = re.findall(
        r"^\| (`[^|]+) \| [^|]+ \| ([^|]*)\|$",
        (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    told = {
        folder: {name.strip(" `") for name in names.split(",")} - {""}
        for folders, names in rows
        for folder in re.findall(r"`([\w.]+)`", folders)
    }
    for folder, allowed in ALLOWED.items():
        assert told[folder] == {name.removeprefix("monai_ext.") for name in allowed - LEAF}, folder
