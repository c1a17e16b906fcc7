"""Photographs of Flickr8k with recorded answers of a real CLIP, from files that the user has."""
