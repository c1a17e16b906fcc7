"""Tables of views in archives: on a disk, in memory and on an S3 server."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from student.data.archives.archive_folder import ArchiveFolder
from student.data.archives.layout import ARCHIVE_BYTES, Layout
from student.data.archives.rendering import OpenedTable, opened_table
from student.errors import BadInput, DataError
from tests.support.s3_server import s3_server

LAYOUT = Layout(images=8, views=2, size=5, each=3)  # three archives, the last with two images
PIXELS = np.random.default_rng(0).integers(0, 256, LAYOUT.shape, dtype=np.uint8)


class Power(Exception):
    """Raised to simulate a power failure."""


class Renderer:
    """Renders `PIXELS`, without its row 4, and counts what it rendered."""

    def __init__(self, *, fails_at: int = 99) -> None:
        self.rendered: list[int] = []
        self._fails_at = fails_at

    def __call__(self, rows: range, pixels: NDArray[np.uint8]) -> dict[int, str]:
        if self._fails_at in rows:
            raise Power
        self.rendered += rows
        pixels[:] = PIXELS[rows.start : rows.stop]
        if 4 not in rows:
            return {}
        pixels[4 - rows.start] = 0
        return {4: "torn"}


def opened(address: str, renderer: Renderer | None = None) -> OpenedTable:
    return opened_table(ArchiveFolder(address, "one"), LAYOUT, renderer or Renderer())


@pytest.fixture(scope="module")
def s3() -> Iterator[Callable[[str], str]]:
    with s3_server() as bucket:
        yield bucket


@pytest.fixture(params=["folder", "memory", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name = f"b{abs(hash(request.node.nodeid)):x}"
    if request.param == "folder":
        return str(tmp_path / "views")
    if request.param == "memory":
        return f"memory://{name}"
    bucket: str = request.getfixturevalue("s3")(name)
    return f"{bucket}/views"


def test_views_are_read_from_wherever_they_are(address: str) -> None:
    renderer = Renderer()
    first = opened(address, renderer)
    assert renderer.rendered == list(range(8))
    again = opened(address, renderer)
    assert renderer.rendered == list(range(8))
    rows, views = np.array([7, 0, 5, 5, 2, 3, 0, 4]), np.array([1, 0, 1, 0, 1, 0, 0, 1])
    expected = PIXELS[rows, views]
    expected[-1] = 0
    for table, unreadable in (first, again):
        assert table.shape == PIXELS.shape
        np.testing.assert_array_equal(table[rows, views], expected)
        assert unreadable == {4: "torn"}
        nothing = np.array([], dtype=np.int64)
        assert table[nothing, nothing].shape == (0, 5, 5, 3)


def test_views_side_by_side_are_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = opened(str(tmp_path)).table
    asked: list[int] = []
    read = ArchiveFolder.ranges

    def counted(
        self: ArchiveFolder, names: list[str], starts: list[int], ends: list[int]
    ) -> list[bytes]:
        asked.append(len(names))
        return read(self, names, starts, ends)

    monkeypatch.setattr(ArchiveFolder, "ranges", counted)
    every = np.repeat(np.arange(8), 2), np.tile(np.arange(2), 8)
    np.testing.assert_array_equal(table[every][:8], PIXELS.reshape(-1, 5, 5, 3)[:8])
    assert asked == [LAYOUT.archives]


def test_an_archive_is_one_that_webdataset_reads(tmp_path: Path) -> None:
    opened(str(tmp_path))
    with tarfile.open(tmp_path / "one" / "000001.tar") as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == [
            f"{row:09}.{view}.npy" for row in (3, 4, 5) for view in (0, 1)
        ]
        content = archive.extractfile(members[5])
        assert content is not None
        view = np.load(io.BytesIO(content.read()))
    np.testing.assert_array_equal(view, PIXELS[5, 1], strict=True)


def test_a_killed_run_leaves_whole_archives_which_the_next_one_keeps(address: str) -> None:
    with pytest.raises(Power):
        opened(address, Renderer(fails_at=6))
    renderer = Renderer()
    table, unreadable = opened(address, renderer)
    assert renderer.rendered == [6, 7]
    assert unreadable == {4: "torn"}
    np.testing.assert_array_equal(table[np.arange(8) % 4, np.zeros(8, int)][:4], PIXELS[:4, 0])


@pytest.mark.parametrize("name", ["000001.tar", "000001.json"])
def test_an_archive_that_was_not_written_whole_is_rendered_again(name: str, tmp_path: Path) -> None:
    with pytest.raises(Power):
        opened(str(tmp_path), Renderer(fails_at=6))
    torn = tmp_path / "one" / name
    torn.write_bytes(torn.read_bytes()[:-7])
    renderer = Renderer()
    opened(str(tmp_path), renderer)
    assert renderer.rendered == [3, 4, 5, 6, 7]


def without_last_byte(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def with_another_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[9] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("000002.tar", Path.unlink, "000002.tar is not what was rendered: it is missing"),
        ("000002.tar", without_last_byte, "instead of 5,120"),
        ("checksums.u64", Path.unlink, "SHA-256 differs"),
        ("checksums.u64", with_another_byte, "SHA-256 differs"),
        ("table.json", without_last_byte, "cannot be read"),
    ],
)
def test_a_table_that_is_not_whole_is_refused_until_the_file_is_deleted(
    name: str, change: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    opened(str(tmp_path))
    file = tmp_path / "one" / name
    change(file)
    with pytest.raises(DataError, match=reason):
        opened(str(tmp_path))
    for one in (file, tmp_path / "one" / "table.json"):  # as the message says
        one.unlink(missing_ok=True)
    renderer = Renderer()
    opened(str(tmp_path), renderer)
    assert renderer.rendered == ([6, 7] if name.endswith(".tar") else [])


def test_a_view_that_has_changed_is_refused_when_it_is_read(tmp_path: Path) -> None:
    opened(str(tmp_path))
    file = tmp_path / "one" / "000001.tar"
    content = bytearray(file.read_bytes())
    content[LAYOUT.member_bytes * 3 + 700] ^= 1  # of view 1 of image 4
    file.write_bytes(content)
    table = opened(str(tmp_path)).table
    table[np.array([4, 5, 3]), np.array([0, 0, 1])]
    with pytest.raises(
        DataError, match=r"000001\.tar is not what was .*: view 1 of image 4 differ"
    ):
        table[np.array([3, 4]), np.array([1, 1])]


def test_an_archive_that_became_shorter_while_it_is_read_is_refused(tmp_path: Path) -> None:
    table = opened(str(tmp_path)).table
    file = tmp_path / "one" / "000002.tar"
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(DataError, match="view 1 of image 7 differs"):
        table[np.array([7]), np.array([1])]


def test_a_table_of_another_version_or_shape_is_refused(tmp_path: Path) -> None:
    opened(str(tmp_path))
    file = tmp_path / "one" / "table.json"
    described = json.loads(file.read_text())
    file.write_text(json.dumps({**described, "version": 2}))
    with pytest.raises(DataError, match="this program reads"):
        opened(str(tmp_path))
    file.write_text(json.dumps({**described, "shape": [8, 3, 5, 5, 3]}))
    with pytest.raises(DataError, match="has the shape"):
        opened(str(tmp_path))


def test_a_folder_that_cannot_be_reached_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--pixels nosuch://bucket cannot be used"):
        opened("nosuch://bucket")
    with pytest.raises(BadInput, match="password in its URL") as error:
        opened("ftp://me:hidden@127.0.0.1/views")
    assert "hidden" not in str(error.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"--pixels .*file cannot be used"):
        opened(str(tmp_path / "file"))


def test_a_view_that_cannot_be_reached_says_how_to_go_on(tmp_path: Path) -> None:
    table = opened(str(tmp_path)).table
    shutil.rmtree(tmp_path / "one")
    with pytest.raises(BadInput, match=r"FileNotFoundError.*run the same command again"):
        table[np.array([0]), np.array([0])]


def test_a_disk_without_room_is_refused_with_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(BadInput, match=r"--pixels .*needs at least .* MiB on the disk"):
        opened(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_archives_of_a_new_table_have_about_64_mebibytes() -> None:
    usual = Layout.of(images=10**6, views=2, size=224)
    assert ARCHIVE_BYTES * 0.99 < usual.archive_bytes(0) <= ARCHIVE_BYTES + 1024
    assert usual.archives == -(-(10**6) // usual.each)
    huge = Layout.of(images=3, views=1, size=6000)
    assert (huge.each, huge.archives) == (1, 3)
