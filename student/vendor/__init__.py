"""The client side of the HTTP API: requests, checked responses, retries."""
