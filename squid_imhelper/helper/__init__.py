"""The process that Squid starts: its loop, and what it does besides answering."""
