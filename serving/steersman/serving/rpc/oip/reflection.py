"""Descriptors for server reflection: those of everybody's pool, and those of the protocol's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from steersman.oip import POOL

Found = TypeVar("Found")


class BothPools:
    """What reflection asks of a `DescriptorPool`, answered from two.

    The protocol's own is asked first: in the other one the same names may be those of another client
    or server in this process.
    """

    def FindFileByName(self, file_name: str) -> FileDescriptor:
        """The file of this name; `KeyError` where there is none."""
        return _first(lambda pool: pool.FindFileByName(file_name))

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        """The file that defines this; `KeyError` where there is none."""
        return _first(lambda pool: pool.FindFileContainingSymbol(symbol))

    def FindMessageTypeByName(self, full_name: str) -> Descriptor:
        """The message of this name; `KeyError` where there is none."""
        return _first(lambda pool: pool.FindMessageTypeByName(full_name))

    def FindExtensionByNumber(self, message: Descriptor, number: int) -> FieldDescriptor:
        """An extension of a message; `KeyError` where there is none."""
        pool: DescriptorPool = message.file.pool
        return pool.FindExtensionByNumber(message, number)

    def FindAllExtensions(self, message: Descriptor) -> list[FieldDescriptor]:
        """All extensions of a message."""
        pool: DescriptorPool = message.file.pool
        return pool.FindAllExtensions(message)


def _first(find: Callable[[DescriptorPool], Found]) -> Found:
    try:
        return find(POOL)
    except KeyError:
        return find(descriptor_pool.Default())
