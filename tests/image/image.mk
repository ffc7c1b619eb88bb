# SPDX-License-Identifier: Apache-2.0
# The image that `make image` writes, and the programs of another architecture.
test-image: ## the image: layout, contents, SBOM, size, the same digest from another directory, its programs run
	@$(if $(CROSS),echo "make test-image: is of this machine's architecture. What is built for another one is tested by make test-arm64" >&2; exit 2)
	@$(MAKE) image
	@tests/image/test.sh
test-arm64: ## cross-built programs under qemu's user emulation: unit tests, the demo's conversation with kubelet, the image
	@tests/image/arm64.sh
# Not there: what is about deadlines of the kernel's (an emulator's are others) or takes many minutes, and what needs other users or
# a look at others' processes, which a user namespace does not have.
ARM64_NOT := hands/hands hands/everywhere rpc/listener host/holders
run-arm64: $(filter-out $(ARM64_NOT:%=$(B)/tests/unit/%_test),$(UNITS)) $(FUZZ:%=$(B)/fuzz/%-replay)
	@SLUICE_BIN=$(B)/bin JOBS=1 tests/unit/run.sh test-arm64-units $^
.PHONY: test-image test-arm64 run-arm64
