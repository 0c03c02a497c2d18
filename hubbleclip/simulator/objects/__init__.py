"""How each kind of object looks."""
