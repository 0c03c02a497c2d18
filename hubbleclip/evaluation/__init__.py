"""How well a model finds texts for images and images for texts, on groups that it never saw."""
