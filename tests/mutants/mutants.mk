# SPDX-License-Identifier: Apache-2.0
# Tests that can fail: tests/mutants/run.sh.
test-mutants: ## deliberate breakages, each of which a named test must see; MUTANT=name: one
	@env -u MAKEFLAGS -u MAKELEVEL tests/mutants/run.sh $(MUTANT)
.PHONY: test-mutants
