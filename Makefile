# Each verb sets up what it needs on a fresh Debian machine with a Rust toolchain.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export CARGO_TERM_COLOR ?= auto

.PHONY: help demo test lint bench simulate build clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: ## 20,000 jobs through a throwaway broker, the worker and a simulated HubSpot
	@deploy/demo.sh

test: broker ## everything: unit, property, simulation, a real RabbitMQ, the built programs
	cargo build --workspace --bins --locked
	cargo test --workspace --locked

lint: ## formatting, clippy, licences and bans
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

bench: broker ## the worker against a bare pass-through, in one run
	cargo build --profile quick --locked --workspace --bins
	target/quick/throughput

simulate: ## the engine through SEEDS=100000 random histories
	SEEDS=$(or $(SEEDS),100000) cargo test --release --locked --test simulation -- --nocapture

build: ## the release binary
	cargo build --release --locked

clean: ## what was built
	cargo clean

.PHONY: broker
broker:
	@deploy/rabbitmq/install.sh
