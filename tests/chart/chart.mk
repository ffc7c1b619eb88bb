# SPDX-License-Identifier: Apache-2.0
# The Helm chart, the kustomizations and the examples (Go >= 1.26; skipped with the reason where it is missing).
CHART_GO = tests/gostage.sh
CHART_FLAGS := -vet=off -ldflags='-s -w'
test-chart: ## chart, kustomizations and examples against Helm's, kustomize's and Kubernetes' own code (needs Go >= 1.26)
	@$(MAKE) FLAVOUR=asan run-chart
run-chart: $(B)/bin/sluiced $(B)/bin/sluicectl
	@SLUICE_BIN=$(CURDIR)/$(B)/bin $(CHART_GO) test-chart chart $(CHART_FLAGS) .
chart-docs: ## write what is generated from the chart: the table of its values, deploy/kustomize/base
	@cd tests/chart && UPDATE=1 GOFLAGS=-mod=readonly GOTOOLCHAIN=local go test $(CHART_FLAGS) -count=1 -run 'Readme|Kustomiz' . && cd ../.. && git --no-pager diff --stat -- charts deploy
.PHONY: test-chart run-chart chart-docs
