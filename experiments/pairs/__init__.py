"""Which caption belongs to which picture: ways to learn it on frozen towers."""
