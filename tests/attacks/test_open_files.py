"""As many files may be open as connections need, where the system allows it."""

from __future__ import annotations

import resource

from teacher_server.server.connections import raise_open_files


def test_open_files_are_raised_as_far_as_needed_and_allowed() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = before
    try:
        room = raise_open_files(100)
        assert room == 100
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
        assert raise_open_files(200) == 200
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (456, hard)
        if hard != resource.RLIM_INFINITY:
            assert raise_open_files(hard) == hard - 256
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
