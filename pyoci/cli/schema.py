"""How the JSON document of a verb is declared: a JSON Schema, which docs/command.rst shows as a list."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def text(meaning: str) -> Schema:
    """A string."""
    return {"type": "string", "description": meaning}


def number(meaning: str) -> Schema:
    """A whole number that isn't negative."""
    return {"type": "integer", "minimum": 0, "description": meaning}


def flag(meaning: str) -> Schema:
    """True or false."""
    return {"type": "boolean", "description": meaning}


def moment(meaning: str) -> Schema:
    """A time, `2026-11-20T08:15:30.000000Z`."""
    return {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT[\d:.]+Z$", "description": meaning}


def nullable(schema: Schema) -> Schema:
    """The same, or null for what isn't known."""
    return {**schema, "type": [schema["type"], "null"]}


def listed(meaning: str, items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": items, "description": meaning}


def record(meaning: str = "", /, **properties: Schema) -> Schema:
    """An object with exactly these keys."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        "description": meaning,
    }


def mapping(meaning: str, values: Schema) -> Schema:
    """An object with any keys."""
    return {"type": "object", "additionalProperties": values, "description": meaning}
