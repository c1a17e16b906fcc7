"""What a section of options is made of: checked values, each declared once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_settings import NoDecode

from student.errors import BadInput

_IDENTIFIES = "identifies_run"

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def names(value: object) -> object:
    """The names in a JSON list, or those between commas; a value that is not text is unchanged."""
    if not isinstance(value, str):
        return value
    try:
        listed = json.loads(value)
    except ValueError:
        listed = None
    if isinstance(listed, list):
        return listed
    return [name for part in value.split(",") if (name := part.strip())]


Names = Annotated[list[str], NoDecode, BeforeValidator(names)]


def user_path(path: str | Path) -> Path:
    """The path with `~` as the home folder, as a shell reads it: a file, a variable and `--out=~/x`
    reach the program unexpanded. Raises ValueError where there is no such home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        message = f"{path}: there is no such home folder (a name with ~ is written ./{path})"
        raise ValueError(message) from error


def _with_user_path(value: str) -> str:
    before, colon, path = value.rpartition(":")  # open_clip:local-dir:~/FOLDER
    return f"{before}{colon}{user_path(path)}" if path.startswith("~") else value


UserPath = Annotated[Path, AfterValidator(user_path)]
NameOrPath = Annotated[str, AfterValidator(_with_user_path)]


def option(default: Any, description: str, *, identifies: bool) -> Any:
    """Declares an option: its one default, its help with the unit, and whether it identifies a run.

    An option identifies a run if another value of it makes another student.
    """
    extra: dict[str, Any] = {_IDENTIFIES: identifies}
    if default is list:
        return Field(default_factory=list, description=description, json_schema_extra=extra)
    return Field(default, description=description, json_schema_extra=extra)


class Section(BaseModel):
    """Options that are read together. `model_fields_set` are those that the user has named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def changed(self, **values: object) -> Self:
        """The same section with other values, which then count as named. Raises BadInput."""
        named = {name: getattr(self, name) for name in self.model_fields_set}
        return build(type(self), {**named, **values})

    @classmethod
    def identifying(cls) -> frozenset[str]:
        """The names of the options that identify a run."""
        return frozenset(
            name
            for name, field in cls.model_fields.items()
            if isinstance(field.json_schema_extra, dict) and field.json_schema_extra[_IDENTIFIES]
        )


S = TypeVar("S", bound=Section)


def build(section: type[S], values: Mapping[str, object]) -> S:
    """A section with these values and the defaults of the others.

    Raises BadInput, naming each option that cannot be used.
    """
    try:
        return section.model_validate(dict(values))
    except ValidationError as error:
        raise bad_input(error) from error


def bad_input(error: ValidationError) -> BadInput:
    """The same error in words for the user, who knows options and not fields."""
    problems = "; ".join(
        f"{'.'.join(str(part) for part in fault['loc']).replace('_', '-')}: {fault['msg']}"
        for fault in error.errors()
    )
    return BadInput(f"options that cannot be used: {problems}")
