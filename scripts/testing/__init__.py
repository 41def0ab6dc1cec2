"""How `make test` runs tests; `scripts/run_tests.py` says which."""
