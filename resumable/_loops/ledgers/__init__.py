"""Which items are done, in four kinds of books: each begins from a save, and is asked and told at each item.

Read ``by_position`` first, the default. ``by_key`` knows each item by a key of the user's, ``by_page`` the items of one
page after the other, ``out_of_order`` those that many workers finish in any order. ``failed`` keeps the items that were
noted as failed.
"""

__all__ = ["by_key", "by_page", "by_position", "failed", "out_of_order"]
