# Two commands do everything: `make demo` and `make test`.

.PHONY: setup demo test check

setup:
	@python3 setup/libtorch.py

demo: setup
	cargo run --release -- search

test: setup
	@python3 setup/python_test.py
	cargo test --release

check: test
	cargo fmt --check
	cargo clippy --release --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps
