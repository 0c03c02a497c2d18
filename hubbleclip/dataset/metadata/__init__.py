"""What a dataset says about itself to people and programs."""
