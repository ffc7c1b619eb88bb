# SPDX-License-Identifier: Apache-2.0
# The image (deploy/image/image.sh). ARCH=arm64 crosses.
image: ## the container image as an OCI layout and a tar file, without a registry or a container tool
	@deploy/deps.sh $(PACKAGES) $(PACKAGES_cross) jq
	@[ -f build/release$(CROSS)/bin/sluiced.map ] || rm -f build/release$(CROSS)/bin/*  # linked before it told what it took
	@$(MAKE) FLAVOUR=release bins
	@deploy/image/image.sh build $(ARCH) build/release$(CROSS)/bin
	@deploy/image/image.sh layout $(ARCH)
image-all: ## the image for amd64 and arm64, and the index over both
	@$(MAKE) image ARCH=amd64
	@$(MAKE) image ARCH=arm64
	@deploy/image/image.sh layout amd64 arm64
.PHONY: image image-all
