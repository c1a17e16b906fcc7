"""The vendor on Ray Serve under load, while its replicas are replaced."""
