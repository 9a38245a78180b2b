"""What all other parts speak in: vocabulary, errors, URLs, addresses, time. Nothing here knows Squid or a policy."""
