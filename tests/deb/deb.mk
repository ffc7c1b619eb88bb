# SPDX-License-Identifier: Apache-2.0
# The Debian package, installed, upgraded, removed and purged: in a minimal root, and under systemd on a real kernel (README.md).
# DEB_GUEST=0 leaves out the guest, DEB_REBUILD=0 the second build of everything.
test-deb: deb ## the Debian package in a minimal root and under systemd in QEMU
	@$(MAKE) --no-print-directory FLAVOUR=debug build/debug/tests/vm/vm-runner build/debug/tests/vm/xpci.so
	@tests/deb/test.sh build/deb
.PHONY: test-deb
