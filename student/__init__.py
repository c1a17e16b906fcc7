"""Buys a rented teacher's embeddings within a budget and distils them into a small student.

The names in `__all__` are the public Python API. `EmbeddingBuyer` plans and buys embeddings of
images and texts. `load` reads a trained student, which predicts classes and embeds images; its
network is `load_student`'s, and `predict_images` names what image files show. Each name is imported
when it is first used, so that `import student` loads neither torch nor httpx.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from student.errors import BadInput, PlanExceedsBudget, StudentError, VendorError
    from student.inference.predict import Prediction, predict_images
    from student.inference.trained_student import ImagePrediction, TrainedStudent, load
    from student.models.saved import load_student
    from student.models.student import Student
    from student.options.wire import WireOptions
    from student.purchase.embedding_buyer import BoughtEmbeddings, EmbeddingBuyer
    from student.purchase.plan import Plan
    from student.purchase.progress import PurchaseSummary

__all__ = [
    "BadInput",
    "BoughtEmbeddings",
    "EmbeddingBuyer",
    "ImagePrediction",
    "Plan",
    "PlanExceedsBudget",
    "Prediction",
    "PurchaseSummary",
    "Student",
    "StudentError",
    "TrainedStudent",
    "VendorError",
    "WireOptions",
    "load",
    "load_student",
    "predict_images",
]

_NAMES_BY_MODULE: Final = {
    "student.errors": ("BadInput", "PlanExceedsBudget", "StudentError", "VendorError"),
    "student.inference.predict": ("Prediction", "predict_images"),
    "student.inference.trained_student": ("ImagePrediction", "TrainedStudent", "load"),
    "student.models.saved": ("load_student",),
    "student.models.student": ("Student",),
    "student.options.wire": ("WireOptions",),
    "student.purchase.embedding_buyer": ("BoughtEmbeddings", "EmbeddingBuyer"),
    "student.purchase.plan": ("Plan",),
    "student.purchase.progress": ("PurchaseSummary",),
}
_MODULES: Final = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used."""
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
