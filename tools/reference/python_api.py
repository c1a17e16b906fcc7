"""The page of the Python API: what `student` and `cache` export."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

_INTRO = """\
# Python API

What the packages export. Anything else may change without notice. Importing a package is
cheap: a name is imported when it is first used.

Plan and buy embeddings of images and texts:

<!-- run -->
```python
import os
from pathlib import Path

from pydantic import SecretStr

from student import EmbeddingBuyer

images = sorted(Path("data/sketch/bird").glob("*.png"))
buyer = EmbeddingBuyer(
    vendor="http://127.0.0.1:8000",
    key=SecretStr(os.environ["TEACHER_API_KEY"]),
    cache=Path("paid-cache"),
    budget=1000,
)
print(buyer.plan(images, ["a photo of a bird"]).units, "queries would be bought")
bought = buyer.buy(images, ["a photo of a bird"])
print(len(bought.images), "image embeddings,", bought.summary.units, "queries charged")
```

Load a student, predict and embed (no vendor needed):

<!-- run -->
```python
from pathlib import Path

from student import load

student = load("runs/student")
images = sorted(Path("data/sketch/bird").glob("*.png"))
for image, answer in zip(images, student.predict(images)):
    print(image.name, answer.classes[0], f"{answer.confidences[0]:.1%}")
print(student.embed(images).shape)
```

Open a cache:

<!-- run -->
```python
from cache import CacheReader, verify

with CacheReader.open("paid-cache") as cache:
    print(cache.spend_on_record())
    print(len(list(cache.rows())), "embeddings, sound:", verify(cache).is_sound)
```
"""
_MODULES = ("student", "cache")
WIDTH = 88  # columns of a signature on one line


def python_page() -> str:
    """The whole page."""
    return "".join((_INTRO, *(part for name in _MODULES for part in _module(import_module(name)))))


def _module(module: ModuleType) -> Iterator[str]:
    yield f"\n## {module.__name__}\n\n{inspect.getdoc(module)}\n"
    for name in module.__all__:
        value = getattr(module, name)
        yield f"\n### {module.__name__}.{name}\n\n"
        if inspect.isclass(value):
            yield from _class(value)
        elif callable(value):
            yield _code(name, value) + _text(value)
        else:
            yield f"A value of type `{type(value).__name__}`.\n"


def _class(value: type) -> Iterator[str]:
    if not issubclass(value, Exception):
        yield _code(value.__name__, value)
    yield _text(value)
    for name, member in vars(value).items():
        if name.startswith("_") or not inspect.getdoc(member):
            continue
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if isinstance(member, property):
            yield f"\n**`{name}`** (property): {_first(member)}\n"
        elif inspect.isfunction(function):
            yield f"\n**`{name}{_signature(function)}`**: {_first(function)}\n"


def _code(name: str, value: object) -> str:
    line = f"{name}{_signature(value)}"
    if len(line) > WIDTH:
        line = name + _signature(value, separator=",\n    ", edge="\n")
    return f"```text\n{line}\n```\n\n"


def _signature(value: object, *, separator: str = ", ", edge: str = "") -> str:
    """The signature without self; `separator` and `edge` break it into lines."""
    assert callable(value)
    signature = inspect.signature(value)
    parts: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        if parameter.name not in ("self", "cls"):
            parts.append(_parameter(parameter))
    indent = "    " if edge and parts else ""
    result = "" if inspect.isclass(value) else f" -> {_annotation(signature.return_annotation)}"
    return f"({edge}{indent}{separator.join(parts)}{edge}){result}"


def _parameter(given: inspect.Parameter) -> str:
    stars: dict[object, str] = {given.VAR_POSITIONAL: "*", given.VAR_KEYWORD: "**"}
    default = "" if given.default is given.empty else f" = {_default(given.default)}"
    return f"{stars.get(given.kind, '')}{given.name}: {_annotation(given.annotation)}{default}"


def _annotation(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _default(value: object) -> str:
    """A default as it is written; a function by its name, without its address."""
    return str(getattr(value, "__name__", repr(value)))


def _text(value: object) -> str:
    return f"{_escaped(inspect.getdoc(value) or '')}\n"


def _first(value: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return _escaped(" ".join((inspect.getdoc(value) or "").split("\n\n")[0].split()))


def _escaped(text: str) -> str:
    """Text in which `<` outside code is not taken for HTML."""
    parts = text.split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)
