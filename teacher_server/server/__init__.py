"""The server process: uvicorn, its connections and its shutdown."""
