# SPDX-License-Identifier: Apache-2.0
# sluiced's answers in KubeVirt's code and libvirt's parser (Go >= 1.26, libvirt0; skipped with the reason where one is missing).
KUBEVIRT_GO = TAGS=libvirt_dlopen tests/gostage.sh
KUBEVIRT_FLAGS := -vet=off -ldflags='-s -w'
test-kubevirt: ## sluiced's answers in KubeVirt's launcher code and libvirt's parser (needs Go >= 1.26, libvirt0)
	@$(MAKE) FLAVOUR=asan run-kubevirt
run-kubevirt: $(B)/bin/sluiced $(B)/bin/sluice-hand
	@LIBRARY=libvirt.so.0 SLUICE_BIN=$(CURDIR)/$(B)/bin $(KUBEVIRT_GO) test-kubevirt kubevirt $(KUBEVIRT_FLAGS) .
test-kubevirt-control: ## manifests with Sluice's names in KubeVirt's webhooks and controller (needs Go >= 1.26)
	@MANIFESTS="$(addprefix $(CURDIR)/,$(wildcard deploy/examples))" $(KUBEVIRT_GO) test-kubevirt-control kubevirt $(KUBEVIRT_FLAGS) ./control
.PHONY: test-kubevirt run-kubevirt test-kubevirt-control
