"""The data of the end-to-end tests."""

from tests.end_to_end.conftest import emoji

__all__ = ["emoji"]
