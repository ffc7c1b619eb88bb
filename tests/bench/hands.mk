# SPDX-License-Identifier: Apache-2.0
# What a hand costs by itself: tests/bench/hands_bench.c.
bench-hands: ## round trips of plans to a warm worker
	@$(MAKE) FLAVOUR=release LINK=$(LINK) run-bench-hands
$(B)/bin/hands_bench: $(B)/tests/bench/hands_bench.o $(B)/libsluice.a $(STATIC_LIBS)
	@mkdir -p $(@D)
	$(call SAY,LD  $@)
	$(Q)$(CMOCKA_LD) -o $@ $(filter %.o %/libsluice.a,$^) $(CMOCKA_LIBS)
run-bench-hands: $(B)/bin/hands_bench $(B)/bin/sluice-hand
	@SLUICE_BIN=$(B)/bin $<
.PHONY: bench-hands run-bench-hands
