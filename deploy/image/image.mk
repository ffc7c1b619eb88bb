# SPDX-License-Identifier: Apache-2.0
# The image (deploy/image/image.sh). ARCH=arm64 crosses.
image: ## the container image as an OCI layout and a tar file, without a registry or a container tool
	@deploy/deps.sh $(PACKAGES) jq
	@$(MAKE) FLAVOUR=release bins
	@deploy/image/image.sh build $(ARCH) build/release/bin
	@deploy/image/image.sh layout $(ARCH)
.PHONY: image
