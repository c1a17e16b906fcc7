"""Measurements that the documents quote; each command writes the JSON that it is quoted from."""
