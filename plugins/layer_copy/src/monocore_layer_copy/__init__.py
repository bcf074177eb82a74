"""Layers applied into a folder: for VMMs that share folders."""
