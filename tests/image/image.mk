# SPDX-License-Identifier: Apache-2.0
# The image that `make image` writes.
test-image: ## the image: layout, contents, SBOM, size, the same digest from another directory, its programs run
	@$(MAKE) image
	@tests/image/test.sh
.PHONY: test-image
