"""The bytes of a checkpoint: how they are written, read, checked, repaired and migrated.

Read ``document`` first, the snapshot; then ``journal``, the saves since; then ``sections``, the library's own part,
with the ``trail`` for reports. ``restore`` makes a checkpoint of them again, and ``migrations`` updates old documents.
``typed`` converts between the state and the user's classes, ``models`` does so for pydantic's; its ``fields`` may hold
collections, and ``values`` are a collection's. ``impossible`` refuses classes of which no value can be loaded,
``culprit`` finds the value that cannot be encoded, ``roundtrip`` finds values that change on the way, ``shared``
objects that come back as two. For damage: ``files`` finds an operation's files, ``verify`` judges them, ``repair``
returns to the last good save. ``anywhere`` does both in any store, and copies between stores; ``artifacts`` checks the
files that saves name.
"""

__all__ = [
    "anywhere",
    "artifacts",
    "culprit",
    "document",
    "fields",
    "files",
    "impossible",
    "journal",
    "migrations",
    "models",
    "repair",
    "restore",
    "roundtrip",
    "sections",
    "shared",
    "trail",
    "typed",
    "values",
    "verify",
]
