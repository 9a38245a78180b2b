"""How fast it is, held against others on the same lines: `python -m benchmarks --list`. See README.md."""
