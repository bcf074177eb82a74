"""What people write in one word, on a command line or in a file, to values: pure parsers. The modules say which."""
