"""Short queries, as people type them, with judgements: how good are the hits of each mode of the search?"""
