# SPDX-License-Identifier: Apache-2.0
# The chart and the image on a cluster of its own, as a user sees them (Go >= 1.26, runc, root; skipped with the reason where one is missing).
# RUN=regexp: some of the tests. SHELL_INSIDE=1: a shell in the cluster. The first time 220 MB of modules are fetched and the programs cost
# eleven minutes of a processor and 2 GB of Go's build cache; later they are what build/cluster has (310 MB).
test-cluster: ## image and chart on a control plane, kubelet, containerd and runc of their own (needs Go >= 1.26, runc)
	@$(MAKE) image
	@IMAGE=$(CURDIR)/build/image/sluice-$(VERSION)-$(ARCH) RUN='$(RUN)' tests/cluster/run.sh
.PHONY: test-cluster
