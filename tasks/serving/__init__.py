"""How a registered model answers: the one file that MLflow runs, and the folder it is given."""
