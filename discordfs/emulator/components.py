"""Buttons and the like under a message: kept as they came, numbered as Discord numbers them.

Only what holds them together is checked, as nothing here can press a button. Threading: pure.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from .errors import invalid_form

_MOST = 5
_ROW = 1


def checked(value: object) -> tuple[dict[str, Any], ...] | None:
    """The rows of components, each thing in them with an `id`; None if the body says nothing of them."""
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise invalid_form("components", "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
    if len(value) > _MOST:
        raise invalid_form("components", "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {_MOST} in length.")
    for position, each in enumerate(value):
        inside = each.get("components")
        if each.get("type") != _ROW or not isinstance(inside, list) or not 1 <= len(inside) <= _MOST:
            path = f"components.{position}"
            raise invalid_form(path, "UNION_TYPE_CHOICES", "Value of field must be a row of components.")
    numbers = count(1)
    return tuple(_numbered(each, numbers) for each in value)


def _numbered(component: dict[str, Any], numbers: count[int]) -> dict[str, Any]:
    kept = {**component, "id": component.get("id") or next(numbers)}
    inside = component.get("components")
    if isinstance(inside, list):
        kept["components"] = [_numbered(each, numbers) for each in inside if isinstance(each, dict)]
    return kept
