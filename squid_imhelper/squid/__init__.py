"""What Squid sends, gets and is configured with. No I/O."""
