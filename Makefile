.PHONY: run test

run: # a Squid with the helper, on 127.0.0.1:3128
	sh dev.sh run

test: # ruff, mypy and every test
	sh dev.sh test
