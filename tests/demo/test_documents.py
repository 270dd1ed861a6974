"""The demo's input: which files it takes, and what it decides about them."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from pgqueue.demo import documents
from pgqueue.demo.app import FATES, WORD, _pieces
from pgqueue.demo.demonstration import Plan
from pgqueue.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    for number in range(documents.FEWEST):
        (tmp_path / "below" / f"{number}.txt").write_text(f"text {number}")
    return tmp_path


def test_the_default_is_the_source_of_this_python_and_enough_of_it() -> None:
    found = documents.find(None)
    assert len(found) >= 500
    assert {path.suffix for path in found} == {".py"}
    assert not [path for path in found if "site-packages" in path.parts]


def test_hidden_linked_and_large_files_are_passed_over(folder: Path) -> None:
    before = documents.find(folder)
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("hidden")
    (folder / ".hidden").write_text("hidden")
    (folder / "link").symlink_to(before[0])
    (folder / "large").write_bytes(b"x" * (documents.LARGEST + 1))
    assert documents.find(folder) == before


def test_a_folder_with_too_few_files_is_refused_with_the_number(folder: Path) -> None:
    documents.find(folder)[0].unlink()
    with pytest.raises(ConfigError, match=r"holds 19 files .* needs 20"):
        documents.find(folder)


def test_a_file_instead_of_a_folder_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        documents.find(documents.find(folder)[0])


def test_bad_bytes_are_replaced_and_nul_is_removed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\xffb\0c")
    assert documents.read(tmp_path / "file") == "a\ufffdbc"


def test_the_same_seed_gives_the_same_plan(folder: Path) -> None:
    first = Plan.make(folder, seed=7, limit=20, workers=2)
    again = Plan.make(folder, seed=7, limit=20, workers=2)
    other = Plan.make(folder, seed=8, limit=20, workers=2)
    assert (first.documents, first.kill_at) == (again.documents, again.kill_at)
    assert first.documents != other.documents


def test_every_fate_is_given_out_in_its_share() -> None:
    found = documents.find(None)[:400]
    fates = Counter(fate for _, fate in documents.choose(found, 400, random.Random(1)))
    assert fates == {
        "plain": 332,
        "slow": 20,
        "fails once": 20,
        "fails always": 8,
        "rolls back": 20,
    }


def test_the_smallest_plan_holds_every_fate_and_leaves_room_for_the_kill(folder: Path) -> None:
    plan = Plan.make(folder, seed=1, limit=documents.FEWEST, workers=2)
    assert {fate for _, fate in plan.documents} == set(FATES)
    assert plan.kill_at <= documents.FEWEST * 0.6


def test_the_command_repeats_the_plan(folder: Path) -> None:
    plan = Plan.make(folder, seed=7, limit=20, workers=3)
    assert plan.command() == f"pgqueue demo {folder} --seed 7 --limit 20 --workers 3"


@pytest.mark.parametrize(
    "text", ["", "one", "a b\nc_d\n\n" * 7, "\n".join("word" for _ in range(99))]
)
def test_pieces_hold_every_word_of_a_text(text: str) -> None:
    assert [word for piece in _pieces(text) for word in WORD.findall(piece)] == WORD.findall(text)
