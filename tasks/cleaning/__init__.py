"""Cleaning: raw documents become clean ones, everything that is left out is kept with its reason."""
