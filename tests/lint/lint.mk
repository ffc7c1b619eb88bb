# SPDX-License-Identifier: Apache-2.0
docs: ## make the generated pages again: docs/reasons.md
	@$(MAKE) FLAVOUR=debug build/debug/bin/sluicectl
	build/debug/bin/sluicectl reasons --output markdown > docs/reasons.md.new && mv docs/reasons.md.new docs/reasons.md
.PHONY: docs
