"""What captions that rules write are worth in training: abstracts, summaries, or both."""
