# Set-up, tests and measurements; README.md says which two you need.

CARGO ?= cargo
PYTHON ?= python3
TARGET := x86_64-unknown-linux-gnu
STATIC := target/$(TARGET)/release
VENV := target/venv

STATIC_FLAGS := -C target-feature=+crt-static -C relocation-model=static \
	-C link-arg=-Wl,--icf=all -C link-arg=-Wl,--no-eh-frame-hdr -C link-arg=-Wl,-T,$(CURDIR)/probe/static.ld

# A static binary runs in images without a libc. Its fixed addresses save relocating it at each start.
probe: dist/ready-probe
# The example agent in the same form, for the images of examples/ and of the Docker tests.
example-agent: dist/rust-agent
dist/ready-probe dist/rust-agent: dist/%: FORCE
	RUSTFLAGS="$(STATIC_FLAGS)" \
		$(CARGO) build --locked --release --target $(TARGET) -p $*
	@mkdir -p dist
	@cmp -s $(STATIC)/$* $@ || cp $(STATIC)/$* $@
	@ls -l $@

FORCE:
.PHONY: probe example-agent FORCE
