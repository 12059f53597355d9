"""The permitted keys and kinds at a place in a file, derived from the type that it is read into."""

from typing import Any

import yaml
from msgspec import inspect


def permitted_at(type_: Any, node: yaml.Node | None, steps: list[tuple[str, str]]) -> str:
    """The keys of the object at a path, or the permitted texts of a key; "" if the type does not limit them.

    Args:
        type_: what the document is read into.
        node: the document.
        steps: (key, "") or ("", index), as `files` takes them from an error.
    """
    shape: Any = inspect.type_info(type_)
    for key, index in steps:
        shape = _choose(shape, node)
        node = child_of(node, key, index)
        if isinstance(shape, inspect.StructType) and key == shape.tag_field:
            return ""
        if isinstance(shape, inspect.UnionType) and key:
            return ", ".join(sorted(str(kind.tag) for kind in _structs(shape)))
        shape = _inside(shape, key)
    shape = _choose(shape, node)
    if isinstance(shape, inspect.StructType):
        tag = [shape.tag_field] if shape.tag_field else []
        return ", ".join([*tag, *(field.encode_name for field in shape.fields)])
    return ""


def _choose(shape: Any, node: yaml.Node | None) -> Any:
    """Of several structures the one whose kind is in the file; wrappers of a type are removed."""
    while isinstance(shape, inspect.Metadata):
        shape = shape.type
    if not isinstance(shape, inspect.UnionType):
        return shape
    structs = _structs(shape)
    for struct in structs:
        kind = child_of(node, struct.tag_field or "", "")
        if isinstance(kind, yaml.ScalarNode) and kind.value == struct.tag:
            return struct
    containers = [kind for kind in shape.types if not isinstance(kind, inspect.NoneType | inspect.StrType)]
    return containers[0] if len(containers) == 1 else shape


def _structs(shape: inspect.UnionType) -> list[inspect.StructType]:
    return [kind for kind in shape.types if isinstance(kind, inspect.StructType)]


def _inside(shape: Any, key: str) -> Any:
    if isinstance(shape, inspect.StructType):
        return next((field.type for field in shape.fields if field.encode_name == key), None)
    if isinstance(shape, inspect.DictType):
        return shape.value_type
    return getattr(shape, "item_type", None)


def child_of(node: yaml.Node | None, key: str, index: str) -> yaml.Node | None:
    """The node under a key or an index; None if there is none."""
    if isinstance(node, yaml.SequenceNode) and index:
        return node.value[int(index)] if int(index) < len(node.value) else None
    if isinstance(node, yaml.MappingNode) and key:
        return next((value for name, value in node.value if name.value == key), None)
    return None
