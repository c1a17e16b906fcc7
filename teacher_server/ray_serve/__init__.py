"""The vendor on Ray Serve: replicas of the API, and replicas of the model, scaled apart.

Nothing of Ray is imported before the vendor is started on it, so that no other vendor needs it.
"""
