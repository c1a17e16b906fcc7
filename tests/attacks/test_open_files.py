"""The limit of open files is raised to what the connections need, if the system allows it."""

from __future__ import annotations

import resource

from teacher_server.server.connections import raise_open_file_limit


def test_open_files_are_raised_as_far_as_needed_and_allowed() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = before
    try:
        allowed = raise_open_file_limit(100)
        assert allowed == 100
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
        assert raise_open_file_limit(200) == 200
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (456, hard)
        if hard != resource.RLIM_INFINITY:
            assert raise_open_file_limit(hard) == hard - 256
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
