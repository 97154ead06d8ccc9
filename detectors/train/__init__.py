"""Training the classifier (needs the `train` extra: torch, timm, scikit-learn)."""
