"""What all other parts speak in: the vocabulary, errors, URLs, addresses, time. Nothing here knows Squid or a policy."""
