"""Students bought from servers that other people wrote, over `--wire openai` (`make vendors-test`).

Not part of `make test`: each server has an environment of its own, of some gigabytes.
"""
