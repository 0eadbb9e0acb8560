"""What drift is measured against, out of a bundle."""

from __future__ import annotations

from steersman.bundle.bundle import Bundle
from steersman.bundle.manifest import REFERENCE_FILE
from steersman.bundle.reference import Reference, unpack_references


def read_references(bundle: Bundle) -> dict[str, Reference]:
    """References by mode; none where the bundle has no reference.

    Raises:
        BundleCorruptError: The file was changed or is malformed.
    """
    if REFERENCE_FILE not in bundle.manifest.files:
        return {}
    return unpack_references(bundle.read(REFERENCE_FILE), REFERENCE_FILE)
