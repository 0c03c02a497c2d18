"""Evaluate how well a model finds the text of an image and the images of a text, on data not used in training."""
