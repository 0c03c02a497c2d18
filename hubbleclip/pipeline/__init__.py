"""The stages as plain Python, without Prefect."""
