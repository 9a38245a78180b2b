"""Keeps instant messengers out of a network: external ACL helper and URL rewriter for Squid."""

__version__ = "0.1.0"
