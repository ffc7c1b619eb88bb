# sluiced against kubelet's own code (Go >= 1.26; skipped with the reason where it is missing). RUN=regexp: some of the tests.
KUBELETS ?= 136
test-kubelet: ## sluiced against kubelet 1.36's own code; KUBELETS="130 133 134 136": other ones (needs Go >= 1.26)
	@$(MAKE) FLAVOUR=asan STAGE=test-kubelet run-kubelet
test-kubelet-all: ## the same with kubelet 1.30, 1.33, 1.34 and 1.36, and 200 restarts, 100 of both
	@$(MAKE) FLAVOUR=asan STAGE=test-kubelet-all KUBELETS="130 133 134 136" KUBELET_RESTARTS=200 BOTH_RESTARTS=100 run-kubelet
run-kubelet: $(B)/bin/sluiced $(B)/bin/sluiced-quick-pods $(B)/bin/sluice-hand $(B)/bin/sluicectl $(B)/bin/fakekubelet
	@STAGE=$(STAGE) SLUICE_BIN=$(CURDIR)/$(B)/bin KUBELET_RESTARTS=$(KUBELET_RESTARTS) BOTH_RESTARTS=$(BOTH_RESTARTS) tests/kubelet/run.sh $(KUBELETS)
.PHONY: test-kubelet test-kubelet-all run-kubelet
