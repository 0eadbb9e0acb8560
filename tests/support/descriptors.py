"""What matters of a .proto on the wire, as plain data."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor


def facts(file: FileDescriptor) -> dict[str, Any]:
    """Every field, enum value and method by its full name, with what another party must have alike."""
    found: dict[str, Any] = {}
    for message in file.message_types_by_name.values():
        _of_message(message, found)
    for service in file.services_by_name.values():
        for method in service.methods:
            types = method.input_type.full_name, method.output_type.full_name
            found[method.full_name] = (*types, method.client_streaming, method.server_streaming)
    for enum in file.enum_types_by_name.values():
        found |= _values(enum)
    return found


def _of_message(message: Descriptor, found: dict[str, Any]) -> None:
    for field in message.fields:
        of = (field.message_type or field.enum_type) and (field.message_type or field.enum_type).full_name
        oneof = field.containing_oneof.name if field.containing_oneof else None
        found[field.full_name] = (field.number, field.type, field.is_repeated, of, oneof)
    for nested in message.nested_types:
        _of_message(nested, found)
    for enum in message.enum_types:
        found.update(_values(enum))


def _values(enum: EnumDescriptor) -> dict[str, int]:
    return {f"{enum.full_name}.{value.name}": value.number for value in enum.values}
