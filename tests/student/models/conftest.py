"""The fixtures of the training tests, for the models."""

from tests.student.training.conftest import data, one_thread, settings, validation

__all__ = ["data", "one_thread", "settings", "validation"]
