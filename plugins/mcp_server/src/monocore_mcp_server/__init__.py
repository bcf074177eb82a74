"""Sandboxes as tools of the Model Context Protocol: a program that talks to a language model has it run code in microVMs."""
