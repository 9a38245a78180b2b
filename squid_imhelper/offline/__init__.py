"""What looks at policies and requests without a Squid."""
