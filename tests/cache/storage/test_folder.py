"""The folder of a cache."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cache.errors import CacheUnavailable
from cache.paid_cache import PaidCache
from cache.storage.folder import DATABASE, FolderWarning, file_system_of, prepare_folder
from cache.storage.reader import CacheReader

MOUNTS = """\
/dev/vda / ext4 rw 0 0
nas:/home /home nfs4 rw 0 0
/dev/vdb /home/me/fast xfs rw 0 0
//nas/share /mnt/my\\040share cifs rw 0 0
host /workspace 9p rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/cache", "ext4"),
        ("/home/me/cache", "nfs4"),
        ("/home/me/fast/cache", "xfs"),
        ("/home/me/faster/cache", "nfs4"),
        ("/mnt/my share/cache", "cifs"),
        ("/homes/cache", "ext4"),
        ("/workspace", "9p"),
    ],
)
def test_the_deepest_mount_above_a_folder_decides(folder: str, kind: str) -> None:
    """Whole names count, not prefixes of them."""
    assert file_system_of(Path(folder), MOUNTS) == kind


def test_the_last_mount_on_a_mount_point_decides() -> None:
    """As the kernel sees it."""
    mounts = "/dev/a /data ext4 rw 0 0\nnas:/x /data nfs rw 0 0\n"
    assert file_system_of(Path("/data/cache"), mounts) == "nfs"


def test_a_machine_without_a_list_of_mounts_is_accepted() -> None:
    """The file system is unknown then."""
    assert file_system_of(Path("/data"), "") == ""


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "ceph"])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    """SQLite's locks do not hold there: "database disk image is malformed"."""
    folder = tmp_path / "cache"
    with pytest.raises(CacheUnavailable, match=f"network file system \\({kind}\\)"):
        prepare_folder(folder, mounts=f"nas:/x {tmp_path} {kind} rw 0 0\n")
    assert not folder.exists()


def test_a_folder_shared_with_a_host_gives_a_warning(tmp_path: Path) -> None:
    """It works while one side uses it at a time."""
    with pytest.warns(FolderWarning, match="9p"):
        prepare_folder(tmp_path / "cache", mounts=f"host {tmp_path} 9p rw 0 0\n")
    assert (tmp_path / "cache").is_dir()


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    """A mistyped path would make a home folder private and fill it."""
    (tmp_path / "thesis.tex").write_text("x")
    mode = tmp_path.stat().st_mode
    with pytest.raises(CacheUnavailable, match=r"thesis\.tex"):
        PaidCache.open(tmp_path)
    assert tmp_path.stat().st_mode == mode
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_new_volume_is_accepted(tmp_path: Path) -> None:
    """An ext4 volume comes with a folder of its own."""
    (tmp_path / "lost+found").mkdir()
    PaidCache.open(tmp_path).close()
    assert (tmp_path / DATABASE).exists()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_file_instead_of_the_folder_is_reported(tmp_path: Path) -> None:
    """The message names the fault."""
    (tmp_path / "cache").write_text("x")
    with pytest.raises(CacheUnavailable, match="as a cache: File exists"):
        PaidCache.open(tmp_path / "cache")


def test_a_readable_folder_of_another_user_gives_a_warning(tmp_path: Path) -> None:
    """Its mode cannot be changed."""
    tmp_path.chmod(0o755)
    with pytest.warns(FolderWarning, match="another user"):
        prepare_folder(tmp_path, mounts="", user=os.geteuid() + 1)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


READ_AS_NOBODY = """
import os, sys
from pathlib import Path
from cache.storage.reader import CacheReader
if os.geteuid() == 0:  # root may write anything
    os.setgid(65534)
    os.setuid(65534)
folder = Path(sys.argv[1])
assert not os.access(folder, os.W_OK)
with CacheReader.open(folder) as records:
    print(records.spend_on_record().receipt_units)
"""


def test_a_cache_on_a_read_only_medium_can_be_read(folder: Path) -> None:
    """SQLite needs a file beside the database that it cannot make there."""
    read_only = Path(tempfile.gettempdir()) / f"read-only-{os.getpid()}"
    folder.rename(read_only)
    try:
        (read_only / DATABASE).chmod(0o444)
        read_only.chmod(0o555)
        run = subprocess.run(
            [sys.executable, "-c", READ_AS_NOBODY, str(read_only)],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        read_only.chmod(0o700)
        read_only.rename(folder)
    assert (run.stdout, run.stderr) == ("0\n", "")


def test_reading_writes_nothing(folder: Path) -> None:
    """An audit leaves the evidence as it is."""
    before = (folder / DATABASE).read_bytes()
    with CacheReader.open(folder) as records:
        assert list(records.receipts()) == []
    assert (folder / DATABASE).read_bytes() == before


def test_reading_creates_no_cache(tmp_path: Path) -> None:
    """A report on a mistyped folder is an error, not an empty report."""
    with pytest.raises(CacheUnavailable, match="there is no cache in"):
        CacheReader.open(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_reading_a_file_that_is_not_a_cache_is_reported(tmp_path: Path) -> None:
    """Also when it is a database of something else."""
    (tmp_path / DATABASE).write_bytes(b"dear diary" * 100)
    with pytest.raises(CacheUnavailable, match="cannot read"):
        CacheReader.open(tmp_path)
    (tmp_path / DATABASE).write_bytes(b"")
    with pytest.raises(CacheUnavailable, match="format 0"):
        CacheReader.open(tmp_path)


@pytest.mark.parametrize("name", ["a b", "a?b", "a#b", "a%41b"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    """The name becomes part of a URI, in which such characters have a meaning."""
    PaidCache.open(tmp_path / name).close()
    with CacheReader.open(tmp_path / name) as records:
        assert records.open_intents() == []
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_tilde_is_the_home_folder_for_whoever_opens_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    PaidCache.open("~/paid").close()
    with CacheReader.open(Path("~/paid")) as reader:
        assert reader.folder == tmp_path / "home" / "paid"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    with pytest.raises(CacheUnavailable, match="there is no such home folder"):
        CacheReader.open("~nobody-here/paid")


def test_a_cache_in_a_folder_named_after_a_variable_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """diskcache would put the rows in another folder than the receipts."""
    monkeypatch.setenv("PLACE", "elsewhere")
    with pytest.raises(CacheUnavailable, match="the name of a variable"):
        PaidCache.open(tmp_path / "$PLACE")
