"""From a program to decisions: the hot path, and the file that it is read from."""
