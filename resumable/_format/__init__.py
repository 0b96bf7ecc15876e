"""The bytes of a checkpoint: how they are written, read, checked, mended and migrated.

Read ``document`` first, the snapshot, then ``journal``, the saves since, and ``sections``, what of them is the
library's own, with the ``trail`` that reports are made from. ``restore`` makes a checkpoint of them again;
``migrations`` brings old documents up to date, and ``typed`` gives the state the user's types, of which ``fields`` may
hold collections, and ``values`` those of a collection, where ``roundtrip`` finds what would come back as something
else, and ``shared`` what would come back as two. For damage: ``files`` finds what lies there, ``verify`` says what is
still good, ``repair`` goes back to it; ``anywhere`` does so in any store, and copies from one to another;
``artifacts`` looks at the files that saves name.
"""

__all__ = [
    "anywhere",
    "artifacts",
    "document",
    "fields",
    "files",
    "journal",
    "migrations",
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
