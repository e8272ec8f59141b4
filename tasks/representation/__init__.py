"""Who the training text speaks of, how often, and beside which words."""
