"""The dry run: a policy over recorded logs, counted, and told."""
