"""The structure tool counts what a small invented tree contains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.structure.__main__ import main, pick, table
from tools.structure.measure import measure

FILES = {
    "README.md": "# Five words are here\n",
    "cache/__init__.py": "",
    "cache/py.typed": "",
    "cache/cli.py": "from cache.storage import reader\nimport cache.errors\n",
    "cache/errors.py": "def explain():\n    '''Say why. At length.'''\n",
    "cache/storage/__init__.py": "",
    "cache/storage/reader.py": (
        "from cache.errors import explain\n\n\n"
        "def read(a, b, c, d, e, f, g):\n"
        "    '''Read a\n    row.'''\n"
        "    from cache.storage.writer import write\n"
        "    return write\n"
    ),
    "cache/storage/writer.py": (
        "from cache.storage import reader\n\n\n"
        "class Writer:\n"
        "    def write(self, a, b, c, d, e, *, f):\n"
        "        return reader\n"
    ),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def test_files_beside_folders_are_counted_without_dunder_files_and_py_typed(root: Path) -> None:
    assert measure(root)["loose_files"] == {".": 1, "cache": 2}


def test_arrows_are_counted_between_folders_and_loose_files(root: Path) -> None:
    # cli -> storage, cli -> errors, storage -> errors
    assert measure(root)["folders"]["cache"]["arrows"] == 3


def test_an_import_circle_is_found_although_half_of_it_is_inside_a_function(root: Path) -> None:
    figures = measure(root)["folders"]["cache"]
    assert figures["circles_of_files"] == [["cache.storage.reader", "cache.storage.writer"]]
    assert figures["circles_of_rooms"] == []


def test_self_is_not_counted_as_a_parameter(root: Path) -> None:
    over = measure(root)["folders"]["cache"]["functions_over_6_parameters"]
    assert over == ["cache.storage.reader.read"]


def test_sizes_are_given_in_lines_and_the_readme_in_words(root: Path) -> None:
    figures = measure(root)["folders"]["cache"]
    assert figures["longest_function"] == {"name": "cache.storage.reader.read", "lines": 5}
    assert (figures["files"], figures["files_under_40_lines"]) == (4, 4)
    assert figures["median_file_lines"] == 4
    assert measure(root)["readme_words"] == 5


def test_a_pick_shows_the_first_sentence_and_the_file_of_each_function(root: Path) -> None:
    assert sorted(pick(root, 2, seed=0)) == [
        ("explain", "Say why.", "cache/errors.py"),
        ("read", "Read a row.", "cache/storage/reader.py"),
    ]


def test_equal_seeds_pick_equal_functions(root: Path) -> None:
    many = "".join(f"def function_{number}(): ...\n" for number in range(50))
    (root / "cache" / "many.py").write_text(many)
    assert pick(root, 12, seed=1) == pick(root, 12, seed=1) != pick(root, 12, seed=2)


def test_the_answer_replaces_the_promise_of_a_picked_function(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.structure.__main__.ROOT", root)
    main(["--pick", "2"])
    assert "explain: Say why." in capsys.readouterr().out
    main(["--pick", "2", "--answer"])
    assert "explain: cache/errors.py" in capsys.readouterr().out


def test_a_second_commit_is_added_to_the_file_and_to_the_table(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("student", "teacher_server"):
        (root / package).mkdir()
        (root / package / "cli.py").touch()
    monkeypatch.setattr("tools.structure.__main__.ROOT", root)
    out = root / "structure.json"
    main(["--out", str(out)])
    (now,) = json.loads(out.read_text()).items()
    out.write_text(json.dumps({"earlier": now[1], **dict([now])}))
    main(["--out", str(out)])
    assert list(json.loads(out.read_text())) == ["earlier", now[0]]
    assert table(json.loads(out.read_text())).startswith(f"| | earlier | {now[0][:7]} |")
