"""The digits data set: a second data set, so that no recipe is tuned to one data set alone."""
