"""The guide's table of limits is that of the wires, each with the contract that was followed."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from student.wires import cohere, openai, vertex, voyage
from student.wires.protocol import Wire

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "rent-from.md"
URL = "https://v.test/locations/x"
WIRES: dict[str, Wire] = {
    "`openai`, `modality`": openai.OpenAIWire(url=URL, model="m", shape="modality"),
    "`openai`, `objects`": openai.OpenAIWire(url=URL, model="m", shape="objects"),
    "`openai`, `strings`": openai.OpenAIWire(url=URL, model="m", shape="strings"),
    "`openai`, `messages`": openai.OpenAIWire(url=URL, model="m", shape="messages"),
    "`voyage`": voyage.VoyageWire(url=URL, model="m"),
    "`cohere`, version 4": cohere.CohereWire(url=URL, model="embed-v4.0"),
    "`cohere`, version 3": cohere.CohereWire(url=URL, model="embed-multilingual-v3.0"),
    "`vertex`": vertex.VertexWire(url=URL, model="m"),
}


def rows() -> dict[str, list[str]]:
    """The cells of the table of limits, by wire."""
    table = GUIDE.read_text("utf-8").partition("## Limits")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line[:3] == "| `"]
    return {cells[0]: cells[1:] for cells in lines}


@pytest.mark.parametrize("name", WIRES)
def test_the_limits_of_a_wire_are_in_the_guide(name: str) -> None:
    items, image_bytes, pixels, formats, contract = rows()[name]
    limits = WIRES[name].limits
    assert int(re.match(r"[\d,]+", items)[0].replace(",", "")) == limits.max_items  # type: ignore[index]
    assert int(image_bytes.replace(",", "")) == limits.max_image_bytes
    assert int(pixels.replace(",", "")) == limits.max_image_pixels
    assert formats.split(", ") == list(limits.image_formats or ())
    module = inspect.getdoc(inspect.getmodule(type(WIRES[name]))) or ""
    address = contract.split(",")[0].split(";")[0].strip("`")
    assert address in module.replace("\n", "").replace("  ", "")
    assert "Followed on 2026-11-29" in module


def test_no_wire_is_missing_from_the_table() -> None:
    assert set(rows()) == set(WIRES)
