"""A purchase whose shards Ray Data hands to its workers."""
