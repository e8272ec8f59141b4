"""Evaluation: how well the model predicts text it never saw, beside the older way of modelling language."""
