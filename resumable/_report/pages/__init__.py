"""Reports of an operation, as a page or a picture.

``course`` has the numbers, ``charts`` draws them, ``page`` is the HTML with the ``style`` of all pages, ``png`` a
picture, ``site`` the pages of ``resumable serve``.
"""

__all__ = ["charts", "course", "page", "png", "site", "style"]
