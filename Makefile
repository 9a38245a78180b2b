.PHONY: run test bench bench-check

run: # a Squid with the helper, on 127.0.0.1:3128
	sh dev.sh run

test: # ruff, mypy and every test
	sh dev.sh test

bench: # all benchmarks, as root; writes benchmarks/records and the tables of benchmarks/README.md
	sh dev.sh bench

bench-check: # each benchmark once and small: are the answers right? No timing
	sh dev.sh bench-check
