# SPDX-License-Identifier: Apache-2.0
test-docs: ## what the documents show: configurations, commands, and what these print
	@$(MAKE) FLAVOUR=asan run-docs
run-docs: $(BINS)
	@SLUICE_BIN=$(B)/bin tests/docs/run.sh
.PHONY: test-docs run-docs
