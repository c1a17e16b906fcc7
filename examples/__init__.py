"""Programs that use the three packages as a user would."""
