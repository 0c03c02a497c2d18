"""The stages of the pipeline as plain Python functions, without Prefect."""
