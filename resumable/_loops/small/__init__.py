"""Small loops, of which a program may make thousands: nothing is prepared for one, and little is looked up.

Read ``loops`` first: it passes a few items, each at one Python step. ``anew`` makes a loop where one was made before,
``streak`` one after another at the same place, of which nobody is told until somebody looks.
"""

__all__ = ["anew", "loops", "streak"]
