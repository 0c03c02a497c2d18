"""What each choice is worth: one changed at a time."""
