"""How a stage runs: its batches, checks and writes."""
