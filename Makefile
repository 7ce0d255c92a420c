# Each verb sets up what it needs on a fresh Debian machine with a Rust toolchain.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export CARGO_TERM_COLOR ?= auto
# How programs for use, and those of the bench, are built. `quick` leaves out the optimisation across crates: it is built
# sooner, costs a tenth more CPU a job and needs 3 MB more memory.
PROFILE ?= release

.PHONY: pictures help demo test lint bench bench-all bench-rivals bench-engine simulate fuzz bite build install deb clean chaos crew soak

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: ## 20,000 jobs through a throwaway broker, the worker and a simulated HubSpot (KEEP=1: goes on until Enter, with the page open)
	@KEEP=$(KEEP) deploy/demo.sh

# Most tests wait for a broker or a program, so more of them run at once than there are cores.
test: export RUST_TEST_THREADS ?= 3
test: tools ## everything: unit, property, simulation, a real RabbitMQ, the built programs
	cargo build --workspace --bins --locked
	cargo test --workspace --locked
	cargo test --workspace --locked --test chaos -- $(CHAOS_AT_ONCE)
	deploy/check.sh

# Cases that wait more than they work, but some run three workers or kill a broker, and then others come too late.
CHAOS_AT_ONCE = --test-threads=4

lint: ## formatting, clippy, licences and bans
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	# It is run by itself, and so it is not one of "all targets".
	cargo clippy --locked --test chaos -- -D warnings
	@deploy/deny.sh

bench: bench-programs ## speed, cost, latency, memory and the use of a ceiling, and what must hold (BENCH="--json FILE" and so on)
	target/$(PROFILE)/throughput $(BENCH)

bench-all: bench-programs ## also one factor at a time, fifteen intervals of HubSpot's own ceiling, a million jobs queued
	target/$(PROFILE)/throughput --all --rounds 3 $(BENCH)

bench-rivals: bench-programs ## worker and floor beside the same job hand-written in Go, Node and Python (needs go 1.24, npm, python3-venv)
	go build -C benches/rivals/go -o build/archiver .
	npm install --prefix benches/rivals/node --no-audit --no-fund --silent
	test -x benches/rivals/python/venv/bin/pip || python3 -m venv benches/rivals/python/venv
	benches/rivals/python/venv/bin/pip install --quiet --requirement benches/rivals/python/requirements.txt
	target/$(PROFILE)/throughput --only base --rivals go,node,go-outcome,node-outcome,python $(BENCH)

bench-engine: ## the engine alone: a pair's cost whatever is held, its allocations and its instructions
	@benches/install-valgrind.sh
	cargo build --profile quick --locked --package bench --bin engine
	target/quick/engine --instructions $(BENCH)

pictures: tools ## docs/pictures: the live page idle, at work, in trouble, on a phone and in the dark, from a real run
	cargo build --workspace --bins --locked
	PICTURES=$(CURDIR)/docs/pictures cargo test --locked --test admin pictures:: -- --ignored --nocapture

simulate: ## the engine through SEEDS=100000 random histories, from FIRST_SEED=0 on
	FIRST_SEED=$(or $(FIRST_SEED),0) SEEDS=$(or $(SEEDS),100000) cargo test --release --locked --test simulation -- --nocapture

fuzz: ## all that reads input, fed with EXECUTIONS=10000000 mutations of tests/fuzz/corpus
	EXECUTIONS=$(or $(EXECUTIONS),10000000) CARGO_PROFILE_DEV_OPT_LEVEL=2 cargo test --workspace --locked --test fuzz -- --nocapture

bite: broker ## seeds the bugs of tests/bite one at a time, and sees a test fail for each (BUGS="name...": only these)
	@tests/bite.sh $(BUGS)

chaos: broker ## every fault on real brokers, the slow ones too, then MINUTES=3 of random ones, which SEED repeats
	cargo build --workspace --bins --locked
	cargo test --workspace --locked --test chaos -- $(CHAOS_AT_ONCE) --include-ignored --skip marathon:: --skip soak:: --skip crew_faults::
	MINUTES=$(MINUTES) SEED=$(SEED) cargo test --workspace --locked --test chaos -- --ignored --nocapture marathon::

crew: broker ## three workers on a cluster of three through JOBS=500000 and random faults, which SEED repeats; then two through five kills in ten minutes
	cargo build --workspace --bins --locked
	JOBS=$(JOBS) SEED=$(SEED) cargo test --workspace --locked --test chaos -- --ignored --nocapture --test-threads=1 crew_faults::

soak: ## the worker under random faults for MINUTES=30: whether anything grows
	MINUTES=$(MINUTES) SEED=$(SEED) deploy/soak.sh

build: ## the release binary (7 minutes of CPU), or with PROFILE=quick one that is a tenth slower (as much CPU, on all cores)
	cargo build --profile $(PROFILE) --locked

PREFIX ?= /usr/local
# Not every shell expands the tilde of PREFIX=~/.local.
override PREFIX := $(patsubst ~/%,$(HOME)/%,$(PREFIX))

install: build ## that binary, its manual pages and completions into PREFIX=/usr/local (PREFIX=~/.local needs no root)
	rm -rf target/install && mkdir -p target/install/man
	target/$(PROFILE)/association-archiver man target/install/man
	install -D -m 755 target/$(PROFILE)/association-archiver "$(DESTDIR)$(PREFIX)/bin/association-archiver"
	install -d "$(DESTDIR)$(PREFIX)/share/man/man1" && install -m 644 target/install/man/*.1 "$(DESTDIR)$(PREFIX)/share/man/man1"
	target/$(PROFILE)/association-archiver completions bash >target/install/bash
	target/$(PROFILE)/association-archiver completions fish >target/install/fish
	target/$(PROFILE)/association-archiver completions zsh >target/install/zsh
	install -D -m 644 target/install/bash "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/association-archiver"
	install -D -m 644 target/install/fish "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/association-archiver.fish"
	install -D -m 644 target/install/zsh "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_association-archiver"
	@echo 'installed: $(DESTDIR)$(PREFIX)/bin/association-archiver'
	@case ":$$PATH:" in *:$(PREFIX)/bin:*) ;; *) echo 'not found by its name yet: export PATH="$(PREFIX)/bin:$$PATH"' ;; esac

deb: ## a Debian package, tried in a root of its own
	command -v cargo-deb >/dev/null || test -x target/tools/bin/cargo-deb || cargo install cargo-deb --locked --quiet --root target/tools
	cargo build --release --locked
	rm -rf target/deb && mkdir -p target/deb/man
	target/release/association-archiver man target/deb/man
	for shell in bash zsh fish; do target/release/association-archiver completions $$shell >target/deb/$$shell || exit; done
	PATH="$$PATH:$(CURDIR)/target/tools/bin" cargo deb --no-build --locked
	deploy/debian/check.sh target/debian/association-archiver_*.deb

clean: ## what was built
	cargo clean

.PHONY: broker tools bench-programs
broker:
	@deploy/install.sh rabbitmq-server

# Of these only chromium and npm are large: the page is tried in a real browser, the contract by the validators that
# integrators use. prometheus brings promtool, systemd its analyser. A node that is not Debian's brings an npm.
tools:
	@deploy/install.sh rabbitmq-server chromium prometheus systemd shellcheck jq python3-pika ruby-bunny
	@command -v npm >/dev/null || deploy/install.sh nodejs npm

bench-programs: broker
	cargo build --profile $(PROFILE) --locked --bins --package association-archiver --package hubspot-simulator --package bench
