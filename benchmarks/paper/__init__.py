"""The recipe of the published tables, for who has the data and a GPU."""
