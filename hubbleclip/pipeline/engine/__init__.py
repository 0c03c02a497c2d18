"""The code that all stages share: it divides the work into batches, runs them, checks the rows and writes them."""
