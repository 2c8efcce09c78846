"""Hold JSON documents against types: strictly, and so that one can tell which parts of a type were ever seen."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

Mark = tuple[str, object]  # a place in a document, and a Literal's value or a type's name there


def marks(kind: Any, path: str = "") -> Iterator[Mark]:
    """Everything that a document of this type can hold somewhere: each field, each value of a Literal, each null."""
    arms = get_args(kind)
    if is_typeddict(kind):
        for name, (field, _) in fields(kind).items():
            yield from marks(field, f"{path}.{name}")
    elif get_origin(kind) is list:
        yield from marks(arms[0], f"{path}[]")
    elif get_origin(kind) in (Union, UnionType):
        for arm in arms:
            yield from marks(arm, path)
    elif get_origin(kind) is Literal:
        for value in arms:
            yield path, value
    else:
        yield path, (get_origin(kind) or kind).__name__


def seen(document: Any, kind: Any, path: str = "") -> Iterator[Mark]:
    """The marks of one document.

    Raises:
        AssertionError: it is not of this type, field for field and without any coercion.
    """
    arms = get_args(kind)
    if is_typeddict(kind):
        assert isinstance(document, dict), f"{path}: {document!r} is no object"
        known = fields(kind)
        assert not (extra := set(document) - set(known)), f"{path}: {extra} are not in {kind.__name__}"
        needed = {name for name, (_, required) in known.items() if required}
        assert not (missing := needed - set(document)), f"{path}: {missing} are missing"
        for name, value in document.items():
            yield from seen(value, known[name][0], f"{path}.{name}")
    elif get_origin(kind) is list:
        assert isinstance(document, list), f"{path}: {document!r} is no list"
        for entry in document:
            yield from seen(entry, arms[0], f"{path}[]")
    elif get_origin(kind) in (Union, UnionType):
        (other,) = set(arms) - {NoneType}  # of several, one couldn't tell which is meant
        yield from seen(document, NoneType if document is None else other, path)
    elif get_origin(kind) is Literal:
        assert type(document) in {type(value) for value in arms if value == document}, f"{path}: {document!r}"
        yield path, document
    else:
        plain = get_origin(kind) or kind
        assert plain is Any or type(document) is plain, f"{path}: {document!r} is no {plain.__name__}"
        yield path, plain.__name__


def fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """The fields of a TypedDict: their types, and whether they are required."""
    hints = get_type_hints(kind, include_extras=True)
    return {
        name: (get_args(hint)[0], False) if get_origin(hint) is NotRequired else (hint, True)
        for name, hint in hints.items()
    }
