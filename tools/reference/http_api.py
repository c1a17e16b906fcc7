"""The page of the HTTP API, from the committed OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Document = Mapping[str, Any]

_INTRO = """\
# HTTP API

What a vendor answers. The contract is [openapi.json](openapi.json), which this page is made from;
a running server publishes it under `/openapi.json`. {description}

Authenticate with `Authorization: Bearer sk_<id>_<secret>`. Errors are problem documents (RFC 9457)
with an OpenAI-style `error` inside; `charged_units` is 0 in each of them, and `retriable` says
whether a retry can help.
"""
_TITLES = {
    "embeddings": "Buying",
    "account": "The account of a key",
    "catalogue": "Models and prices",
    "admin": "Administration (scope admin)",
    "health": "Health (no key needed)",
}


def http_page(openapi: Path) -> str:
    """The whole page."""
    document: Document = json.loads(openapi.read_text(encoding="utf-8"))
    intro = _INTRO.format(description=document["info"]["description"])
    return "".join((intro, *_operations(document), _problems(document), *_schemas(document)))


def _operations(document: Document) -> Iterator[str]:
    for tag, title in _TITLES.items():
        yield f"\n## {title}\n"
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag in operation["tags"]:
                    yield _operation(f"{method.upper()} {path}", operation)


def _operation(name: str, operation: Document) -> str:
    lines = [
        f"\n### {name}\n",
        f"{operation['summary']}. {operation.get('description', '')}".rstrip(),
    ]
    if parameters := operation.get("parameters"):
        lines += ["", "| Parameter | In | Type | Required | Meaning |", "|---|---|---|---|---|"]
        for parameter in parameters:
            required = "yes" if parameter.get("required") else "no"
            meaning = _cell(parameter.get("description", ""))
            kind = _type(parameter["schema"])
            lines.append(
                f"| `{parameter['name']}` | {parameter['in']} | {kind} | {required} | {meaning} |"
            )
    if body := operation.get("requestBody"):
        lines += ["", f"Body: {_content(body['content'])}."]
    success = {code: answer for code, answer in operation["responses"].items() if code < "300"}
    for code, response in success.items():
        shape = _content(response.get("content", {}))
        lines += ["", f"{code}: {shape or response['description']}."]
    refusals = ", ".join(code for code in operation["responses"] if code >= "300")
    lines += ["", f"Errors: {refusals}.", ""]
    return "\n".join(lines)


def _content(content: Document) -> str:
    shapes = []
    for media, form in content.items():
        schema = form.get("schema", {})
        shapes.append(f"{_type(schema)} as `{media}`" if schema else f"`{media}`")
    return ", or ".join(shapes)


def _problems(document: Document) -> str:
    """Every problem code with its status, from the examples of the shared responses."""
    found: dict[str, Document] = {}
    for response in document["components"]["responses"].values():
        for media in response["content"].values():
            for code, example in media.get("examples", {}).items():
                found.setdefault(code, example["value"])
    rows = [
        f"| {problem['status']} | `{code}` | {problem['title']} |"
        f" {'yes' if problem['retriable'] else 'no'} |"
        for code, problem in sorted(found.items(), key=lambda item: (item[1]["status"], item[0]))
    ]
    header = "\n## Problems\n\n| Status | Code | Meaning | Can a retry help? |\n|---|---|---|---|\n"
    return header + "\n".join(rows) + "\n"


def _schemas(document: Document) -> Iterator[str]:
    yield "\n## Schemas\n"
    for name, schema in document["components"]["schemas"].items():
        yield f"\n### {name}\n"
        if text := schema.get("description"):
            yield f"\n{text}\n"
        if properties := schema.get("properties"):
            yield "\n| Field | Type | Required | Meaning |\n|---|---|---|---|\n"
            for field, kind in properties.items():
                required = "yes" if field in schema.get("required", ()) else "no"
                meaning = _cell(kind.get("description", ""))
                yield f"| `{field}` | {_type(kind)} | {required} | {meaning} |\n"


def _type(schema: Document) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(_type(part) for part in schema[union]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
