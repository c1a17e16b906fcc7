"""Training and scoring the methods of a run, and predicting with a student."""
